// SPDX-License-Identifier: Apache-2.0
//
// What ends a program that nothing moves any more: an NMI when no instruction has been executed in
// L1 for 50 ms. It comes from channel 0 of the 8254 timer, through pin 2 of the I/O APIC.
// Sources: Intel 8254 data sheet, "Mode 0", "Read-Back Command"; Intel 82093AA (I/O APIC) data
// sheet, 3.2.4 "I/O Redirection Table Registers".
#ifndef NVMX_LHV_IMAGE_WATCHDOG_H_
#define NVMX_LHV_IMAGE_WATCHDOG_H_

#include <cstdint>

#include "backends/vmx-hw/machine/cpu_instructions.h"

namespace nvmx::lhv {

class Watchdog {
 public:
  static constexpr uint64_t kIoApic = 0xFEC0'0000;

  // The NMI goes to this CPU. Start() and Stop() need the I/O APIC. Start() masks the 8259
  // interrupt controllers.
  static void Start(uint32_t apic_id) {
    metal::Out8(kMasterMask, 0xFF);
    metal::Out8(kSlaveMask, 0xFF);
    Restart();
    WriteIoApic(kFirstEntry + 2 * kPin + 1, apic_id << 24);
    WriteIoApic(kFirstEntry + 2 * kPin, kNmi);
  }
  static void Stop() { WriteIoApic(kFirstEntry + 2 * kPin, kNmi | kMasked); }
  // The time begins again.
  static void Restart() {
    metal::Out8(kCommand, kChannel0Mode0);
    metal::Out8(kChannel0, 0xFF);
    metal::Out8(kChannel0, 0xFF);
  }
  // Whether it is over.
  static bool IsOver() {
    constexpr uint8_t kReadBackStatus = 0xE2;
    constexpr uint8_t kOutput = 0x80;
    constexpr uint8_t kNullCount = 0x40;
    metal::Out8(kCommand, kReadBackStatus);
    const uint8_t status = metal::In8(kChannel0);
    return (status & kOutput) != 0 && (status & kNullCount) == 0;
  }

 private:
  static constexpr uint16_t kChannel0 = 0x40;
  static constexpr uint16_t kCommand = 0x43;
  static constexpr uint16_t kMasterMask = 0x21;
  static constexpr uint16_t kSlaveMask = 0xA1;
  static constexpr uint8_t kChannel0Mode0 = 0x30;
  static constexpr uint32_t kFirstEntry = 0x10;
  static constexpr uint32_t kPin = 2;
  static constexpr uint32_t kNmi = 4 << 8;
  static constexpr uint32_t kMasked = 1 << 16;

  static void WriteIoApic(uint32_t number, uint32_t value) {
    *reinterpret_cast<volatile uint32_t*>(kIoApic) = number;
    *reinterpret_cast<volatile uint32_t*>(kIoApic + 0x10) = value;
  }
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_WATCHDOG_H_
