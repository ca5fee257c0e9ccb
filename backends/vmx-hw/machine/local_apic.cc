// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/local_apic.h"

#include "backends/vmx-hw/machine/cpu_instructions.h"

namespace nvmx::metal {
namespace {

constexpr uint32_t kApicBaseMsr = 0x1B;
constexpr uint64_t kX2apicMode = 1 << 10;
constexpr uint64_t kApicBaseAddress = 0xF'FFFF'F000;
constexpr uint32_t kX2apicIdMsr = 0x802;
constexpr uint32_t kIdRegister = 0x20;
constexpr uint32_t kIcrLow = 0x300;
constexpr uint32_t kIcrHigh = 0x310;

// ICR.
constexpr uint32_t kDeliverNmi = 4 << 8;
constexpr uint32_t kDeliverInit = 5 << 8;
constexpr uint32_t kDeliverSipi = 6 << 8;
constexpr uint32_t kDeliveryPending = 1 << 12;
constexpr uint32_t kAssert = 1 << 14;
constexpr uint32_t kAllExcludingSelf = 3 << 18;

volatile uint32_t& Register(uint32_t offset) {
  return *reinterpret_cast<volatile uint32_t*>(static_cast<uintptr_t>(ApicAddress()) + offset);
}

void AwaitDelivery() {
  while ((Register(kIcrLow) & kDeliveryPending) != 0) Pause();
}

void Send(uint32_t apic_id, uint32_t command) {
  if (IsInX2apicMode()) return WriteMsr(kX2apicIcrMsr, uint64_t{apic_id} << 32 | command);
  const uint32_t before = Register(kIcrHigh);
  AwaitDelivery();
  Register(kIcrHigh) = apic_id << 24;
  Register(kIcrLow) = command;
  AwaitDelivery();
  Register(kIcrHigh) = before;
}

// The PIT's channel 2, whose gate and output are in port 61H.
constexpr uint16_t kPitChannel2 = 0x42;
constexpr uint16_t kPitCommand = 0x43;
constexpr uint16_t kSystemControl = 0x61;
constexpr uint8_t kOneShotOfChannel2 = 0xB0;  // low byte, then high byte; mode 0
constexpr uint8_t kGate2 = 0x01;
constexpr uint8_t kSpeaker = 0x02;
constexpr uint8_t kOutput2 = 0x20;
constexpr uint32_t kPitHertz = 1193182;
constexpr uint32_t kLongestWait = 50000;  // in microseconds, of one countdown of 16 bits

}  // namespace

bool IsInX2apicMode() { return (ReadMsr(kApicBaseMsr) & kX2apicMode) != 0; }
uint64_t ApicAddress() { return ReadMsr(kApicBaseMsr) & kApicBaseAddress; }
uint32_t ReadIcrHigh() { return Register(kIcrHigh); }

uint32_t ReadApicId() {
  return IsInX2apicMode() ? static_cast<uint32_t>(ReadMsr(kX2apicIdMsr))
                          : Register(kIdRegister) >> 24;
}

void SendNmi(uint32_t apic_id) { Send(apic_id, kDeliverNmi | kAssert); }
void SendNmiToAllOthers() { Send(0, kDeliverNmi | kAssert | kAllExcludingSelf); }
void SendInit(uint32_t apic_id) { Send(apic_id, kDeliverInit | kAssert); }
void SendSipi(uint32_t apic_id, uint8_t page) { Send(apic_id, kDeliverSipi | kAssert | page); }

void DelayMicroseconds(uint32_t microseconds) {
  while (microseconds > kLongestWait) {
    DelayMicroseconds(kLongestWait);
    microseconds -= kLongestWait;
  }
  const auto ticks = static_cast<uint32_t>(uint64_t{microseconds} * kPitHertz / 1000000) + 1;
  const uint8_t control = In8(kSystemControl) & ~(kGate2 | kSpeaker);
  Out8(kSystemControl, control | kGate2);
  Out8(kPitCommand, kOneShotOfChannel2);
  Out8(kPitChannel2, static_cast<uint8_t>(ticks));
  Out8(kPitChannel2, static_cast<uint8_t>(ticks >> 8));
  while ((In8(kSystemControl) & kOutput2) == 0) Pause();
  Out8(kSystemControl, control);
}

}  // namespace nvmx::metal
