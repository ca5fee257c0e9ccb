// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_FIBER_H_
#define NVMX_BACKENDS_SIM_MACHINE_FIBER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace nvmx::sim {

// A stack of its own that a function runs on until it gives control back. One simulated CPU is one
// fiber; all run in one thread, so the order in which they run is nothing but the order of the
// calls of Resume().
class Fiber {
 public:
  using Entry = void (*)(void* argument);

  // Room for the core's deepest call several times over; sanitizers multiply the size of frames.
#if __has_feature(address_sanitizer)
  static constexpr size_t kStackBytes = 512 * 1024;
#else
  static constexpr size_t kStackBytes = 64 * 1024;
#endif

  explicit Fiber(size_t stack_bytes = kStackBytes);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Forgets whatever ran before, without unwinding it, and begins `entry` with the next Resume().
  // What runs on a fiber must therefore own nothing that needs a destructor while it is suspended.
  void Start(Entry entry, void* argument);
  // Runs until the fiber calls Suspend(). Only from outside.
  void Resume();
  // Returns to whoever called Resume(). Only from inside. `entry` must never return.
  void Suspend();

  // The return addresses of the suspended fiber, innermost first.
  std::vector<uintptr_t> Backtrace() const;

 private:
  friend struct FiberEntry;

  std::unique_ptr<std::byte[]> stack_;
  size_t stack_bytes_;
  void* context_ = nullptr;  // of the side that does not run
  void* frame_ = nullptr;    // frame pointer at the last Suspend()
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  // Address Sanitizer has to be told of every switch of stacks.
  void* outer_fake_stack_ = nullptr;
  void* inner_fake_stack_ = nullptr;
  const void* outer_stack_bottom_ = nullptr;
  size_t outer_stack_bytes_ = 0;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_FIBER_H_
