// SPDX-License-Identifier: Apache-2.0
//
// What ends a program that nothing moves any more: an NMI when no instruction has been executed in
// L1 for 50 ms. It comes from channel 0 of the 8254 timer, through pin 2 of the I/O APIC.
// Sources: Intel 8254 data sheet, "Mode 0", "Read-Back Command"; Intel 82093AA (I/O APIC) data
// sheet, 3.2.4 "I/O Redirection Table Registers"; Intel 8259A data sheet, "Initialization Command
// Words", "Operation Command Words".
#ifndef NVMX_LHV_IMAGE_WATCHDOG_H_
#define NVMX_LHV_IMAGE_WATCHDOG_H_

#include <cstdint>
#include <initializer_list>

#include "backends/vmx-hw/machine/cpu_instructions.h"

namespace nvmx::lhv {

class Watchdog {
 public:
  static constexpr uint64_t kIoApic = 0xFEC0'0000;

  // The NMI goes to this CPU. Start() and Stop() need the I/O APIC. Start() masks the 8259
  // interrupt controllers, in whatever state a program that ran wild has left them.
  static void Start(uint32_t apic_id) {
    MaskInterruptController(kMaster, kVectors, 1 << kSlaveLine);
    MaskInterruptController(kSlave, kVectors + kLines, kSlaveLine);
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
  static constexpr uint16_t kMaster = 0x20;
  static constexpr uint16_t kSlave = 0xA0;
  static constexpr uint8_t kVectors = 0x20;
  static constexpr uint8_t kLines = 8;
  static constexpr uint8_t kSlaveLine = 2;
  static constexpr uint8_t kChannel0Mode0 = 0x30;
  static constexpr uint32_t kFirstEntry = 0x10;
  static constexpr uint32_t kPin = 2;
  static constexpr uint32_t kNmi = 4 << 8;
  static constexpr uint32_t kMasked = 1 << 16;

  // `cascade`: the lines that slaves are at, or the line of the master's that this slave is at.
  static void MaskInterruptController(uint16_t port, uint8_t vectors, uint8_t cascade) {
    constexpr uint8_t kIcw1WithIcw4 = 0x11;
    constexpr uint8_t kIcw4Of8086 = 1;
    metal::Out8(port, kIcw1WithIcw4);
    const auto data = static_cast<uint16_t>(port + 1);
    for (const uint8_t word : {vectors, cascade, kIcw4Of8086, uint8_t{0xFF}}) {
      metal::Out8(data, word);
    }
  }
  static void WriteIoApic(uint32_t number, uint32_t value) {
    *reinterpret_cast<volatile uint32_t*>(uintptr_t{kIoApic}) = number;
    *reinterpret_cast<volatile uint32_t*>(uintptr_t{kIoApic + 0x10}) = value;
  }
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_WATCHDOG_H_
