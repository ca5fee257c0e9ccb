// SPDX-License-Identifier: Apache-2.0
//
// How instructions reach memory.
#include <algorithm>

#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kVirtualTprOffset = 0x80;

// SDM Vol. 3A, 6.3 "Limit Checking".
bool IsInLimit(const SegmentState& segment, AccessRights rights, uint64_t offset, size_t bytes) {
  const uint64_t last = offset + bytes - 1;
  const bool expands_down = (rights.type() & AccessRights::kTypeCode) == 0 &&
                            (rights.type() & AccessRights::kTypeExpandDown) != 0;
  if (!expands_down) return last <= segment.limit;
  const uint64_t top = rights.db() ? 0xFFFFFFFF : 0xFFFF;
  return offset > segment.limit && last <= top;
}

}  // namespace

std::optional<Exception> Processor::Linear(const MemoryOperand& place, size_t bytes, bool write,
                                           uint64_t& linear) const {
  const Exception fault{place.segment == SegmentRegister::kSs ? Vector::kStackFault
                                                              : Vector::kGeneralProtection};
  linear = SegmentBase(place.segment) + place.offset;
  if (Is64BitMode()) {
    const bool canonical =
        IsCanonical(linear, LinearBits()) && IsCanonical(linear + bytes - 1, LinearBits());
    return canonical ? std::nullopt : std::optional(fault);
  }
  const SegmentState& segment = Segment(place.segment);
  const AccessRights rights{static_cast<uint32_t>(segment.access_rights)};
  if (IsProtectedMode()) {
    // Bit 1 of the type: a data segment can be written, a code segment can be read.
    const bool code = (rights.type() & AccessRights::kTypeCode) != 0;
    const bool bit = (rights.type() & AccessRights::kTypeWritable) != 0;
    const bool allowed = write ? !code && bit : !code || bit;
    if (rights.unusable() || !allowed) return fault;
  }
  if (!IsInLimit(segment, rights, place.offset, bytes)) return fault;
  linear &= 0xFFFFFFFF;
  return std::nullopt;
}

// SDM Vol. 3A, 6.15, "Interrupt 17-Alignment Check Exception (#AC)".
bool Processor::IsMisaligned(uint64_t linear, size_t bytes) const {
  return Cpl() == 3 && (state_.switched.cr0 & Cr0::kAm) != 0 &&
         (state_.switched.rflags & Rflags::kAc) != 0 && bytes <= 8 && linear % bytes != 0;
}

TranslationContext Processor::Context() const {
  const SwitchedRegisters& r = state_.switched;
  TranslationContext context{};
  context.cr0 = r.cr0;
  context.cr3 = r.cr3;
  context.cr4 = r.cr4;
  context.efer = r.efer;
  context.rflags = r.rflags;
  context.pdptes = r.pdptes;
  context.user = Cpl() == 3;
  if (!HasPrimary(PrimaryProcessorBased::kActivateSecondaryControls)) return context;
  const VmcsImage& v = Vmcs().fields;
  const uint32_t secondary = v.Get<VmcsField::kSecondaryProcessorBasedControls>();
  context.ept = (secondary & Secondary::kEnableEpt) != 0;
  if (context.ept) context.eptp = VmcsRead(VmcsField::kEptPointer);
  if ((secondary & Secondary::kEnableVpid) != 0) {
    context.vpid = static_cast<uint16_t>(VmcsRead(VmcsField::kVirtualProcessorIdentifier));
  }
  context.page_modification_log = (secondary & Secondary::kEnablePml) != 0;
  if (context.page_modification_log) context.log_address = VmcsRead(VmcsField::kPmlAddress);
  context.virtualize_apic_accesses = (secondary & Secondary::kVirtualizeApicAccesses) != 0;
  if (context.virtualize_apic_accesses) {
    context.apic_access_address = VmcsRead(VmcsField::kApicAccessAddress);
  }
  return context;
}

void Processor::TakeLogIndex() {
  if (HasSecondary(Secondary::kEnablePml)) {
    mmu_.log_index = static_cast<uint16_t>(VmcsRead(VmcsField::kPmlIndex));
  }
}

void Processor::PutLogIndex() {
  if (HasSecondary(Secondary::kEnablePml)) VmcsWrite(VmcsField::kPmlIndex, mmu_.log_index);
}

bool Processor::ReadData(const MemoryOperand& place, std::span<std::byte> bytes) {
  uint64_t linear;
  if (const auto fault = Linear(place, bytes.size(), false, linear)) {
    Raise(*fault);
    return false;
  }
  if (IsMisaligned(linear, bytes.size())) {
    Fault(Vector::kAlignmentCheck);
    return false;
  }
  return ReadLinear(Context(), place.segment, linear, bytes);
}

bool Processor::WriteData(const MemoryOperand& place, std::span<const std::byte> bytes) {
  uint64_t linear;
  if (const auto fault = Linear(place, bytes.size(), true, linear)) {
    Raise(*fault);
    return false;
  }
  if (IsMisaligned(linear, bytes.size())) {
    Fault(Vector::kAlignmentCheck);
    return false;
  }
  return WriteLinear(Context(), place.segment, linear, bytes);
}

bool Processor::ReadLinear(const TranslationContext& context, SegmentRegister segment,
                           uint64_t linear, std::span<std::byte> bytes) {
  TakeLogIndex();
  const std::optional<TranslationFault> fault = mmu_.Read(context, linear, bytes);
  PutLogIndex();
  if (!fault) return true;
  if (fault->kind == TranslationFault::Kind::kApicAccess) return VirtualizeApicRead(*fault, bytes);
  Raise(*fault, segment, AccessKind::kRead);
  return false;
}

bool Processor::WriteLinear(const TranslationContext& context, SegmentRegister segment,
                            uint64_t linear, std::span<const std::byte> bytes) {
  TakeLogIndex();
  const std::optional<TranslationFault> fault = mmu_.Write(context, linear, bytes);
  PutLogIndex();
  if (!fault) return true;
  if (fault->kind == TranslationFault::Kind::kApicAccess) return VirtualizeApicWrite(*fault, bytes);
  Raise(*fault, segment, AccessKind::kWrite);
  return false;
}

bool Processor::ReadSystem(uint64_t linear, std::span<std::byte> bytes) {
  return ReadLinear(ImplicitSupervisor(Context()), SegmentRegister::kDs, linear, bytes);
}

bool Processor::WriteSystem(uint64_t linear, std::span<const std::byte> bytes) {
  return WriteLinear(ImplicitSupervisor(Context()), SegmentRegister::kDs, linear, bytes);
}

void Processor::PeekData(uint64_t linear, std::span<std::byte> bytes) const {
  mmu_.Peek(Context(), linear, bytes);
}

bool Processor::FetchInstruction(std::span<std::byte> code) {
  const SwitchedRegisters& r = state_.switched;
  const TranslationContext context = Context();
  if (!Is64BitMode() && r.rip > r.cs.limit) {
    Fault(Vector::kGeneralProtection);
    return false;
  }
  TakeLogIndex();
  std::optional<TranslationFault> fault;
  for (size_t byte = 0; !fault && byte < std::max<size_t>(code.size(), 1); ++byte) {
    uint64_t physical;
    fault = mmu_.Translate(context, SegmentBase(SegmentRegister::kCs) + r.rip + byte,
                           AccessKind::kFetch, physical);
    if (!fault && !code.empty()) memory_.ReadPhysical(physical, code.subspan(byte, 1));
  }
  PutLogIndex();
  if (fault) Raise(*fault, SegmentRegister::kCs, AccessKind::kFetch);
  return !fault;
}

// --- The APIC-access page

// 30.4.2 "Virtualizing Reads from the APIC-Access Page", 30.4.3 "Virtualizing Writes to the
// APIC-Access Page", without APIC-register virtualization: nothing but the TPR is virtualized.
bool Processor::IsVirtualTprAccess(const TranslationFault& fault, size_t bytes) const {
  constexpr size_t kMostBytes = 4;
  return fault.is_linear_access && !vectoring_ &&
         HasPrimary(PrimaryProcessorBased::kUseTprShadow) && bytes <= kMostBytes &&
         PageOffset(fault.physical) >= kVirtualTprOffset &&
         PageOffset(fault.physical) + bytes <= kVirtualTprOffset + kMostBytes;
}

bool Processor::VirtualizeApicRead(const TranslationFault& fault, std::span<std::byte> bytes) {
  if (!IsVirtualTprAccess(fault, bytes.size())) {
    ExitForApicAccess(fault, AccessKind::kRead);
    return false;
  }
  memory_.ReadPhysical(VmcsRead(VmcsField::kVirtualApicAddress) + PageOffset(fault.physical),
                       bytes);
  return true;
}

// 30.4.3.2 "APIC-Write Emulation": a write at the offset of the TPR clears its upper bytes.
bool Processor::VirtualizeApicWrite(const TranslationFault& fault,
                                    std::span<const std::byte> bytes) {
  if (!IsVirtualTprAccess(fault, bytes.size()) || PageOffset(fault.physical) != kVirtualTprOffset) {
    ExitForApicAccess(fault, AccessKind::kWrite);
    return false;
  }
  WriteVirtualTpr(static_cast<uint8_t>(bytes[0]));
  return true;
}

// 28.2.1, "Exit Qualification for APIC-Access VM Exits from Linear Accesses and Guest-Physical
// Accesses".
Outcome Processor::ExitForApicAccess(const TranslationFault& fault, AccessKind kind) {
  enum Type : uint64_t {
    kLinearRead = 0,
    kLinearWrite = 1,
    kLinearFetch = 2,
    kLinearDelivery = 3,
    kGuestPhysicalDelivery = 10,
    kGuestPhysicalInstruction = 15,
  };
  constexpr unsigned kTypeShift = 12;
  Type type;
  if (!fault.is_linear_access) {
    type = vectoring_ ? kGuestPhysicalDelivery : kGuestPhysicalInstruction;
  } else if (vectoring_) {
    type = kLinearDelivery;
  } else {
    type = kind == AccessKind::kRead    ? kLinearRead
           : kind == AccessKind::kWrite ? kLinearWrite
                                        : kLinearFetch;
  }
  const uint64_t offset = fault.is_linear_access ? PageOffset(fault.physical) : 0;
  return ExitDuringAccess(ExitReason::kApicAccess, {.qualification = type << kTypeShift | offset});
}

// --- Structures that the VMCS names

uint8_t Processor::ReadPhysicalByte(uint64_t physical) const {
  return memory_.Load<uint8_t>(physical);
}

uint64_t Processor::ReadVirtualTpr() const {
  return ReadPhysicalByte(VmcsRead(VmcsField::kVirtualApicAddress) + kVirtualTprOffset);
}

void Processor::WriteVirtualTpr(uint64_t value) {
  const auto tpr = static_cast<uint32_t>(value & 0xFF);
  memory_.Store(VmcsRead(VmcsField::kVirtualApicAddress) + kVirtualTprOffset, tpr);
  if (IsTprBelowThreshold(tpr)) state_.tpr_below_pending = 1;
}

bool Processor::IsTprBelowThreshold(uint64_t virtual_tpr) const {
  constexpr unsigned kClassShift = 4;
  constexpr uint64_t kThreshold = 0xF;
  return virtual_tpr >> kClassShift < (VmcsRead(VmcsField::kTprThreshold) & kThreshold);
}

// --- Translations

bool Processor::LoadPdptes(uint64_t cr3) {
  TakeLogIndex();
  const Mmu::PdpteLoad load = mmu_.LoadPdptes(Context(), cr3);
  PutLogIndex();
  if (load.fault) {
    Raise(*load.fault, SegmentRegister::kDs, AccessKind::kRead);
    return false;
  }
  if (load.reserved_bits) {
    Fault(Vector::kGeneralProtection);
    return false;
  }
  state_.switched.pdptes = load.pdptes;
  return true;
}

// SDM Vol. 3A, 4.10.4.1 "Operations that Invalidate TLBs and Paging-Structure Caches"; Vol. 3C,
// 29.4.3.1: in non-root operation of the current VPID.
void Processor::DropTranslations(bool retain_globals) {
  mmu_.tlb().DropVpid(Context().vpid, retain_globals);
}
void Processor::DropTranslationsOfPcid(uint64_t pcid) {
  mmu_.tlb().DropPcid(Context().vpid, static_cast<uint16_t>(pcid));
}
void Processor::DropTranslationsOfPage(uint64_t linear) {
  constexpr uint64_t kPcid = 0xFFF;
  const SwitchedRegisters& r = state_.switched;
  const uint64_t pcid = (r.cr4 & Cr4::kPcide) != 0 ? r.cr3 & kPcid : 0;
  mmu_.tlb().DropPage(Context().vpid, static_cast<uint16_t>(pcid), linear);
}
void Processor::DropTranslationsOfPageAndPcid(uint64_t linear, uint64_t pcid) {
  mmu_.tlb().DropPageOfPcid(Context().vpid, static_cast<uint16_t>(pcid), linear);
}

// SDM Vol. 3C, 31.3, "INVEPT", "INVVPID".
void Processor::Invalidate(const Invalidation& invalidation) {
  Tlb& tlb = mmu_.tlb();
  switch (invalidation.kind) {
    case Invalidation::Kind::kEptSingleContext:
      return tlb.DropEp4ta(Eptp::Ep4ta(invalidation.eptp));
    case Invalidation::Kind::kEptAllContexts:
      return tlb.DropAllEp4tas();
    case Invalidation::Kind::kVpidIndividualAddress:
      return tlb.DropPageOfVpid(invalidation.vpid, invalidation.linear);
    case Invalidation::Kind::kVpidSingleContext:
      return tlb.DropVpid(invalidation.vpid, false);
    case Invalidation::Kind::kVpidAllContexts:
      return tlb.DropAllVpids();
    case Invalidation::Kind::kVpidSingleContextRetainingGlobals:
      return tlb.DropVpid(invalidation.vpid, true);
  }
}

}  // namespace nvmx::sim
