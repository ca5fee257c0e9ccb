// SPDX-License-Identifier: Apache-2.0
//
// The local APIC of the CPU that asks, in xAPIC mode. SDM Vol. 3A, 11.4 "Local APIC", 11.6.1
// "Interrupt Command Register (ICR)".
#ifndef NVMX_LHV_IMAGE_LOCAL_APIC_H_
#define NVMX_LHV_IMAGE_LOCAL_APIC_H_

#include <cstdint>

namespace nvmx::lhv {

class LocalApic {
 public:
  static constexpr uint64_t kBase = 0xFEE0'0000;
  static constexpr uint64_t kId = 0x20;
  static constexpr uint64_t kTaskPriority = 0x80;
  static constexpr uint64_t kEndOfInterrupt = 0xB0;
  static constexpr uint64_t kSpuriousVector = 0xF0;
  static constexpr uint64_t kInService = 0x100;
  static constexpr uint64_t kRequest = 0x200;
  static constexpr uint64_t kInterruptCommandLow = 0x300;
  static constexpr uint64_t kInterruptCommandHigh = 0x310;
  // A destination that no CPU has.
  static constexpr uint32_t kNobody = 0xFE;

  static uint32_t Read(uint64_t offset) {
    return *reinterpret_cast<volatile uint32_t*>(static_cast<uintptr_t>(kBase + offset));
  }
  static void Write(uint64_t offset, uint32_t value) {
    *reinterpret_cast<volatile uint32_t*>(static_cast<uintptr_t>(kBase + offset)) = value;
  }

  // Whether it takes a value.
  static bool Works() {
    constexpr uint32_t kPriority = 0x50;
    Write(kTaskPriority, kPriority);
    const bool works = Read(kTaskPriority) == kPriority;
    Write(kTaskPriority, 0);
    return works;
  }

  static uint32_t Id() { return Read(kId) >> 24; }
  static void Enable() {
    constexpr uint32_t kEnable = 1 << 8;
    constexpr uint32_t kSpurious = 0xFF;
    Write(kSpuriousVector, kEnable | kSpurious);
  }
  static void SetDestination(uint32_t apic_id) { Write(kInterruptCommandHigh, apic_id << 24); }
  // An interrupt is requested or in service.
  static bool HasWork() {
    constexpr uint64_t kRegisters = 8;
    constexpr uint64_t kDistance = 0x10;
    for (uint64_t number = 0; number < kRegisters; ++number) {
      if (Read(kInService + number * kDistance) != 0) return true;
      if (Read(kRequest + number * kDistance) != 0) return true;
    }
    return false;
  }
  // What CR8 is in 64-bit mode.
  static void LetAllIn() { Write(kTaskPriority, 0); }
  static void EndInterrupt() { Write(kEndOfInterrupt, 0); }
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_LOCAL_APIC_H_
