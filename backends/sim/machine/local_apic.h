// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_LOCAL_APIC_H_
#define NVMX_BACKENDS_SIM_MACHINE_LOCAL_APIC_H_

#include <array>
#include <cstdint>
#include <optional>

namespace nvmx::sim {

// What a CPU's local APIC holds for its processor, but for NMIs (nmi_latch.h): fixed interrupts, an
// INIT, a SIPI. Guest programs never write the EOI register, so the APIC ends each interrupt itself
// as it delivers it: nothing is in service, and what keeps one handler from being interrupted by
// the next is RFLAGS.IF.
class LocalApic {
 public:
  // A fixed interrupt. Its vector is requested at most once at a time. SDM Vol. 3A, 11.8.4
  // "Interrupt Acceptance for Fixed Interrupts".
  void PutInterrupt(uint8_t vector);
  // The highest vector that is requested.
  std::optional<uint8_t> HighestInterrupt() const;
  // Takes that one away; there is one.
  uint8_t TakeInterrupt();

  void PutInit() { init_ = true; }
  bool has_init() const { return init_; }
  void TakeInit() { init_ = false; }

  // One SIPI at most: the last.
  void PutSipi(uint8_t vector) { sipi_ = vector; }
  std::optional<uint8_t> sipi() const { return sipi_; }
  void DropSipi() { sipi_.reset(); }

 private:
  std::array<uint64_t, 4> requested_{};  // IRR
  bool init_ = false;
  std::optional<uint8_t> sipi_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_LOCAL_APIC_H_
