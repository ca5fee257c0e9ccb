// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_STARTUP_MAILBOX_H_
#define NVMX_BACKENDS_VMX_HW_L0_STARTUP_MAILBOX_H_

#include <atomic>
#include <cstdint>
#include <optional>

namespace nvmx::metal {

// INIT and SIPI on their way to one CPU: what a processor that has not looked yet would make of
// them. Any CPU posts, the CPU itself takes.
class StartupMailbox {
 public:
  struct Contents {
    bool init = false;            // comes first
    std::optional<uint8_t> sipi;  // its vector
  };

  // What came before INIT is over with it.
  void PostInit() { word_.store(kInit); }
  // The first one starts the CPU, and the next finds it running.
  void PostSipi(uint8_t vector) {
    uint32_t old = word_.load();
    while ((old & kSipi) == 0 && !word_.compare_exchange_weak(old, old | kSipi | vector)) {
    }
  }
  bool IsEmpty() const { return word_.load(std::memory_order_acquire) == 0; }
  Contents Take() {
    const uint32_t word = word_.exchange(0);
    Contents contents;
    contents.init = (word & kInit) != 0;
    if ((word & kSipi) != 0) contents.sipi = static_cast<uint8_t>(word);
    return contents;
  }

 private:
  static constexpr uint32_t kSipi = 1 << 8;
  static constexpr uint32_t kInit = 1 << 9;
  std::atomic<uint32_t> word_{0};
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_STARTUP_MAILBOX_H_
