// SPDX-License-Identifier: Apache-2.0
//
// Descriptor tables, XCRs, INVLPG and INVPCID, MONITOR, I/O ports. SDM Vol. 2.
#include <cstring>

#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "backends/sim/machine/processor_features.h"
#include "core/vmx/controls.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"

namespace nvmx::sim {
namespace {

using lhv::Instruction;
using lhv::InstructionKind;

constexpr uint64_t kMax32 = 0xFFFFFFFF;

// A legacy or system-segment descriptor. SDM Vol. 3A, 3.4.5 "Segment Descriptors", 3.5 "System
// Descriptor Types".
struct Descriptor {
  uint64_t low = 0;
  uint64_t high = 0;  // of a system descriptor in IA-32e mode

  static constexpr uint64_t kAccessed = uint64_t{1} << 40;
  static constexpr uint64_t kBusy = uint64_t{1} << 41;
  static constexpr uint64_t kHighMustBeZero = uint64_t{0x1F} << 40;

  uint64_t base() const {
    return (low >> 16 & 0xFFFFFF) | (low >> 56 & 0xFF) << 24 | (high & kMax32) << 32;
  }
  uint64_t limit() const {
    const uint64_t raw = (low & 0xFFFF) | (low >> 48 & 0xF) << 16;
    return rights().g() ? raw << 12 | 0xFFF : raw;
  }
  // In the format of the VMCS.
  AccessRights rights() const { return AccessRights{static_cast<uint32_t>(low >> 40 & 0xF0FF)}; }
  SegmentState Load(uint64_t selector) const { return {selector, base(), limit(), rights().value}; }
};

constexpr uint32_t kTypeAvailableTss16 = 1;
constexpr uint32_t kTypeAvailableTss = 9;

// Deterministic, and different each time. The finalizer of MurmurHash3 over a Weyl sequence.
uint64_t RandomNumber(uint64_t position) {
  uint64_t z = (position + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
  z = (z ^ z >> 27) * 0x94D049BB133111EB;
  return z ^ z >> 31;
}

}  // namespace

// --- Descriptor tables

Outcome Processor::PerformStoreTable(bool gdt) {
  const SwitchedRegisters& r = state_.switched;
  std::array<std::byte, 10> image{};
  const auto limit = static_cast<uint16_t>(gdt ? r.gdtr_limit : r.idtr_limit);
  const uint64_t base = gdt ? r.gdtr_base : r.idtr_base;
  std::memcpy(image.data(), &limit, sizeof limit);
  std::memcpy(image.data() + sizeof limit, &base, sizeof base);
  const size_t bytes = Is64BitMode() ? 10 : 6;
  return WriteData(instruction_operand_.place, std::span(image).first(bytes)) ? Outcome::kNext
                                                                              : Outcome::kElsewhere;
}

Outcome Processor::PerformLoadTable(bool gdt) {
  std::array<std::byte, 10> image{};
  const size_t bytes = Is64BitMode() ? 10 : 6;
  if (!ReadData(instruction_operand_.place, std::span(image).first(bytes))) {
    return Outcome::kElsewhere;
  }
  uint16_t limit;
  uint64_t base;
  std::memcpy(&limit, image.data(), sizeof limit);
  std::memcpy(&base, image.data() + sizeof limit, sizeof base);
  if (Is64BitMode() && !IsCanonical(base, LinearBits())) return Fault(Vector::kGeneralProtection);
  SwitchedRegisters& r = state_.switched;
  (gdt ? r.gdtr_limit : r.idtr_limit) = limit;
  (gdt ? r.gdtr_base : r.idtr_base) = base;
  return Outcome::kNext;
}

// Reads the descriptor that the selector names, from the GDT alone if `system`. False: a fault or a
// VM exit has come instead.
bool Processor::ReadDescriptor(uint64_t selector, bool system, uint64_t& address,
                               std::array<uint64_t, 2>& words) {
  const SwitchedRegisters& r = state_.switched;
  const bool local = (selector & Selector::kTi) != 0;
  const bool wide = system && (r.efer & Efer::kLma) != 0;
  const auto error = static_cast<uint32_t>(selector & ~uint64_t{Selector::kRpl});
  const uint64_t offset = selector & ~uint64_t{7};
  const uint64_t limit = local ? r.ldtr.limit : r.gdtr_limit;
  const bool no_ldt = local && AccessRights{static_cast<uint32_t>(r.ldtr.access_rights)}.unusable();
  if ((local && system) || no_ldt || offset + (wide ? 15 : 7) > limit) {
    Fault(Vector::kGeneralProtection, error);
    return false;
  }
  address = (local ? r.ldtr.base : r.gdtr_base) + offset;
  words = {};
  return ReadSystem(address, std::as_writable_bytes(std::span(words)).first(wide ? 16 : 8));
}

Outcome Processor::PerformLldt() {
  const uint64_t selector = state_.registers[kValueRegister] & 0xFFFF;
  SegmentState& ldtr = state_.switched.ldtr;
  if ((selector & ~uint64_t{Selector::kRpl}) == 0) {
    ldtr = {selector, 0, 0, AccessRights::kUnusable};
    return Outcome::kNext;
  }
  uint64_t address;
  std::array<uint64_t, 2> words;
  if (!ReadDescriptor(selector, true, address, words)) return Outcome::kElsewhere;
  const Descriptor descriptor{words[0], words[1]};
  const auto error = static_cast<uint32_t>(selector & ~uint64_t{Selector::kRpl});
  const bool wide = (state_.switched.efer & Efer::kLma) != 0;
  if (descriptor.rights().s() || descriptor.rights().type() != AccessRights::kTypeLdt ||
      (wide && ((descriptor.high & Descriptor::kHighMustBeZero) != 0 ||
                !IsCanonical(descriptor.base(), LinearBits())))) {
    return Fault(Vector::kGeneralProtection, error);
  }
  if (!descriptor.rights().present()) return Fault(Vector::kSegmentNotPresent, error);
  ldtr = descriptor.Load(selector);
  return Outcome::kNext;
}

Outcome Processor::PerformLtr() {
  const uint64_t selector = state_.registers[kValueRegister] & 0xFFFF;
  if ((selector & ~uint64_t{Selector::kRpl}) == 0) return Fault(Vector::kGeneralProtection);
  uint64_t address;
  std::array<uint64_t, 2> words;
  if (!ReadDescriptor(selector, true, address, words)) return Outcome::kElsewhere;
  Descriptor descriptor{words[0], words[1]};
  const auto error = static_cast<uint32_t>(selector & ~uint64_t{Selector::kRpl});
  const bool wide = (state_.switched.efer & Efer::kLma) != 0;
  const uint32_t type = descriptor.rights().type();
  if (descriptor.rights().s() ||
      (type != kTypeAvailableTss && (wide || type != kTypeAvailableTss16)) ||
      (wide && ((descriptor.high & Descriptor::kHighMustBeZero) != 0 ||
                !IsCanonical(descriptor.base(), LinearBits())))) {
    return Fault(Vector::kGeneralProtection, error);
  }
  if (!descriptor.rights().present()) return Fault(Vector::kSegmentNotPresent, error);
  descriptor.low |= Descriptor::kBusy;
  if (!WriteSystem(address, std::as_bytes(std::span(&descriptor.low, 1)))) {
    return Outcome::kElsewhere;
  }
  state_.switched.tr = descriptor.Load(selector);
  return Outcome::kNext;
}

// SDM Vol. 2B, "MOV-Move", of the selector that SS holds; events are blocked until the next
// instruction has completed. SDM Vol. 3A, 7.8.3 "Masking Exceptions and Interrupts When Switching
// Stacks".
Outcome Processor::PerformMovSs() {
  SegmentState& ss = state_.switched.ss;
  const uint64_t selector = ss.selector;
  const unsigned cpl = Cpl();
  if (!IsProtectedMode()) {
    ss.base = selector << 4;
    return Outcome::kNext;
  }
  const unsigned rpl = selector & Selector::kRpl;
  if ((selector & ~uint64_t{Selector::kRpl}) == 0) {
    if (!Is64BitMode() || cpl == 3 || rpl != cpl) return Fault(Vector::kGeneralProtection);
    ss = {selector, 0, 0, AccessRights::kUnusable | cpl << AccessRights::kDplShift};
    return Outcome::kNext;
  }
  uint64_t address;
  std::array<uint64_t, 2> words;
  if (!ReadDescriptor(selector, false, address, words)) return Outcome::kElsewhere;
  Descriptor descriptor{words[0]};
  const AccessRights rights = descriptor.rights();
  const auto error = static_cast<uint32_t>(selector & ~uint64_t{Selector::kRpl});
  const bool writable = rights.s() && (rights.type() & AccessRights::kTypeCode) == 0 &&
                        (rights.type() & AccessRights::kTypeWritable) != 0;
  if (rpl != cpl || !writable || rights.dpl() != cpl) {
    return Fault(Vector::kGeneralProtection, error);
  }
  if (!rights.present()) return Fault(Vector::kStackFault, error);
  if ((descriptor.low & Descriptor::kAccessed) == 0) {
    descriptor.low |= Descriptor::kAccessed;
    if (!WriteSystem(address, std::as_bytes(std::span(&descriptor.low, 1)))) {
      return Outcome::kElsewhere;
    }
  }
  ss = descriptor.Load(selector);
  return Outcome::kNext;
}

// --- XCR0. SDM Vol. 1, 13.3 "Enabling the XSAVE Feature Set and XSAVE-Enabled Features".

Outcome Processor::PerformXgetbv() {
  auto& r = state_.registers;
  if ((r[kRcx] & kMax32) != 0) return Fault(Vector::kGeneralProtection);
  r[kRax] = state_.xcr0 & kMax32;
  r[kRdx] = state_.xcr0 >> 32;
  return Outcome::kNext;
}

Outcome Processor::PerformXsetbv() {
  const auto& r = state_.registers;
  const uint64_t value = (r[kRax] & kMax32) | r[kRdx] << 32;
  if ((r[kRcx] & kMax32) != 0 || !IsValidXcr0(value)) return Fault(Vector::kGeneralProtection);
  state_.xcr0 = value;
  return Outcome::kNext;
}

bool Processor::IsValidXcr0(uint64_t value) {
  const bool avx_without_sse = (value & Xcr0::kAvx) != 0 && (value & Xcr0::kSse) == 0;
  return (value & ~Xcr0::kSupported) == 0 && (value & Xcr0::kX87) != 0 && !avx_without_sse;
}

// --- Translations

Outcome Processor::PerformInvlpg(uint64_t offset) {
  const uint64_t linear = SegmentBase(SegmentRegister::kDs) + offset;
  // In 64-bit mode INVLPG of an address that is not canonical does nothing.
  if (!Is64BitMode() || IsCanonical(linear, LinearBits())) DropTranslationsOfPage(linear);
  return Outcome::kNext;
}

// SDM Vol. 2A, "INVPCID".
Outcome Processor::PerformInvpcid() {
  enum Type : uint64_t { kIndividualAddress, kSingleContext, kAll, kAllRetainingGlobals };
  constexpr uint64_t kPcid = 0xFFF;
  std::array<uint64_t, 2> descriptor{};
  const uint64_t type = state_.registers[kSelectorRegister];
  if (!ReadData(instruction_operand_.place, std::as_writable_bytes(std::span(descriptor)))) {
    return Outcome::kElsewhere;
  }
  const uint64_t pcid = descriptor[0] & kPcid;
  const bool has_pcids = (state_.switched.cr4 & Cr4::kPcide) != 0;
  if (type > kAllRetainingGlobals || (descriptor[0] & ~kPcid) != 0 ||
      (type <= kSingleContext && !has_pcids && pcid != 0) ||
      (type == kIndividualAddress && !IsCanonical(descriptor[1], LinearBits()))) {
    return Fault(Vector::kGeneralProtection);
  }
  switch (type) {
    case kIndividualAddress:
      DropTranslationsOfPageAndPcid(descriptor[1], pcid);
      break;
    case kSingleContext:
      DropTranslationsOfPcid(pcid);
      break;
    default:
      DropTranslations(type == kAllRetainingGlobals);
      break;
  }
  return Outcome::kNext;
}

// --- MONITOR and MWAIT. SDM Vol. 2B. MWAIT may end at any time, and here does at once.

Outcome Processor::PerformMonitor() {
  const auto& r = state_.registers;
  if ((r[kRcx] & kMax32) != 0) return Fault(Vector::kGeneralProtection);
  std::byte byte;
  if (!ReadData({SegmentRegister::kDs, r[kRax]}, std::span(&byte, 1))) return Outcome::kElsewhere;
  state_.monitor_armed = 1;
  return Outcome::kNext;
}

Outcome Processor::PerformMwait() {
  constexpr uint64_t kInterruptsBreak = 1;
  if ((state_.registers[kRcx] & kMax32 & ~kInterruptsBreak) != 0) {
    return Fault(Vector::kGeneralProtection);
  }
  state_.monitor_armed = 0;
  return Outcome::kNext;
}

// --- I/O ports

// SDM Vol. 1, 19.5.2 "I/O Permission Bit Map". False: the access raises a fault, which has come, or
// reading the TSS did.
bool Processor::MayAccessPort(uint16_t port, unsigned width) {
  constexpr uint64_t kMapBaseOffset = 102;
  constexpr uint32_t kMinimalLimit = 103;
  const SwitchedRegisters& r = state_.switched;
  const bool vm86 = (r.rflags & Rflags::kVm) != 0;
  if ((r.cr0 & Cr0::kPe) == 0 || (Cpl() <= Iopl() && !vm86)) return true;
  const AccessRights rights{static_cast<uint32_t>(r.tr.access_rights)};
  const bool is_tss_16 = rights.type() == AccessRights::kTypeBusyTss16;
  if (rights.unusable() || is_tss_16 || r.tr.limit < kMinimalLimit) {
    Fault(Vector::kGeneralProtection);
    return false;
  }
  uint16_t map_base;
  if (!ReadSystem(r.tr.base + kMapBaseOffset, std::as_writable_bytes(std::span(&map_base, 1)))) {
    return false;
  }
  const uint64_t offset = uint64_t{map_base} + port / 8;
  if (offset + 1 > r.tr.limit) {
    Fault(Vector::kGeneralProtection);
    return false;
  }
  uint16_t bits;
  if (!ReadSystem(r.tr.base + offset, std::as_writable_bytes(std::span(&bits, 1)))) return false;
  const unsigned wanted = ((1u << width) - 1) << port % 8;
  if ((bits & wanted) == 0) return true;
  Fault(Vector::kGeneralProtection);
  return false;
}

// SDM Vol. 3C, 26.1.1: the check of the permission map comes before the VM exit.
Outcome Processor::PerformIo(const Instruction& instruction) {
  const auto port = static_cast<uint16_t>(instruction.first);
  const unsigned width = instruction.width;
  if (!MayAccessPort(port, width)) return Outcome::kElsewhere;
  if (in_non_root() && IoAccessExits(port, width)) {
    return ExitOnInstruction(ExitReason::kIoInstruction, IoQualification(instruction));
  }
  uint64_t& rax = state_.registers[kRax];
  auto* const ports = reinterpret_cast<uint8_t*>(state_.io_ports.data());
  uint64_t value = 0;
  for (unsigned byte = 0; byte < width; ++byte) {
    const uint32_t p = port + byte;
    if (instruction.kind == InstructionKind::kIn) {
      value |= uint64_t{p < kIoPortCount ? ports[p] : uint8_t{0xFF}} << 8 * byte;
    } else if (p < kIoPortCount) {
      ports[p] = static_cast<uint8_t>(rax >> 8 * byte);
    }
  }
  if (instruction.kind == InstructionKind::kOut) return Outcome::kNext;
  // AL and AX leave the rest of RAX alone, EAX clears it.
  const uint64_t mask = (uint64_t{1} << 8 * width) - 1;
  rax = width == 4 ? value : (rax & ~mask) | value;
  return Outcome::kNext;
}

// --- Others

Outcome Processor::PerformRandom() {
  state_.registers[kValueRegister] = RandomNumber(state_.random_numbers++);
  state_.switched.rflags = (state_.switched.rflags & ~Rflags::kArithmetic) | Rflags::kCf;
  return Outcome::kNext;
}

// SDM Vol. 3C, 26.3, RDTSC; 25.6.5 "Time-Stamp Counter Offset and Multiplier".
uint64_t Processor::GuestTsc() const {
  if (!HasPrimary(PrimaryProcessorBased::kUseTscOffsetting)) return state_.tsc;
  uint64_t tsc = state_.tsc;
  if (HasSecondary(Secondary::kUseTscScaling)) {
    constexpr unsigned kFractionBits = 48;
    using Product = unsigned __int128;
    tsc =
        static_cast<uint64_t>(Product{tsc} * VmcsRead(VmcsField::kTscMultiplier) >> kFractionBits);
  }
  return tsc + VmcsRead(VmcsField::kTscOffset);
}

// No counter counts: no event is ever selected.
Outcome Processor::PerformRdpmc() {
  constexpr uint64_t kFixedCounters = 0x40000000;
  auto& r = state_.registers;
  const uint64_t counter = r[kRcx] & kMax32;
  const bool exists =
      counter < PerformanceCounters::kGeneral ||
      (counter >= kFixedCounters && counter < kFixedCounters + PerformanceCounters::kFixed);
  if (!exists || !HasPerformanceCounters()) return Fault(Vector::kGeneralProtection);
  r[kRax] = r[kRdx] = 0;
  return Outcome::kNext;
}

}  // namespace nvmx::sim
