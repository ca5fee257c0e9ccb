// SPDX-License-Identifier: Apache-2.0
//
// How instructions reach memory.
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/x86/address.h"

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

std::optional<Processor::Exception> Processor::Linear(const MemoryOperand& place, size_t bytes,
                                                      bool write, uint64_t& linear) const {
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

bool Processor::ReadData(const MemoryOperand& place, std::span<std::byte> bytes) {
  uint64_t linear;
  if (const auto fault = Linear(place, bytes.size(), false, linear)) {
    Raise(*fault);
    return false;
  }
  return ReadSystem(linear, bytes);
}

bool Processor::WriteData(const MemoryOperand& place, std::span<const std::byte> bytes) {
  uint64_t linear;
  if (const auto fault = Linear(place, bytes.size(), true, linear)) {
    Raise(*fault);
    return false;
  }
  return WriteSystem(linear, bytes);
}

bool Processor::ReadSystem(uint64_t linear, std::span<std::byte> bytes) {
  if (memory_.Read(linear, bytes)) return true;
  // The guest's page tables map only what is there.
  Raise({Vector::kPageFault, 0, linear});
  return false;
}

bool Processor::WriteSystem(uint64_t linear, std::span<const std::byte> bytes) {
  if (memory_.Write(linear, bytes)) return true;
  Raise({Vector::kPageFault, PageFaultErrorCode::kWr, linear});
  return false;
}

void Processor::PeekData(uint64_t linear, std::span<std::byte> bytes) const {
  memory_.Read(linear, bytes);
}

bool Processor::FetchInstruction(std::span<std::byte> code) {
  if (code.empty() || memory_.Read(state_.switched.rip, code)) return true;
  Raise({Vector::kPageFault, PageFaultErrorCode::kId, state_.switched.rip});
  return false;
}

uint8_t Processor::ReadPhysicalByte(uint64_t physical) const {
  std::byte byte{0xFF};
  memory_.Read(physical, std::span(&byte, 1));
  return static_cast<uint8_t>(byte);
}

uint64_t Processor::ReadVirtualTpr() const {
  return ReadPhysicalByte(VmcsRead(VmcsField::kVirtualApicAddress) + kVirtualTprOffset);
}

void Processor::WriteVirtualTpr(uint64_t value) {
  const auto tpr = static_cast<uint32_t>(value & 0xFF);
  memory_.Write(VmcsRead(VmcsField::kVirtualApicAddress) + kVirtualTprOffset,
                std::as_bytes(std::span(&tpr, 1)));
  if (IsTprBelowThreshold(tpr)) state_.tpr_below_pending = 1;
}

bool Processor::IsTprBelowThreshold(uint64_t virtual_tpr) const {
  constexpr unsigned kClassShift = 4;
  constexpr uint64_t kThreshold = 0xF;
  return virtual_tpr >> kClassShift < (VmcsRead(VmcsField::kTprThreshold) & kThreshold);
}

bool Processor::LoadPdptes(uint64_t cr3) {
  constexpr uint64_t kTable = 0xFFFFFFE0;
  for (size_t index = 0; index < state_.switched.pdptes.size(); ++index) {
    memory_.Read((cr3 & kTable) + 8 * index,
                 std::as_writable_bytes(std::span(&state_.switched.pdptes[index], 1)));
  }
  return true;
}

void Processor::DropTranslations(bool) {}
void Processor::DropTranslationsOfPcid(uint64_t) {}
void Processor::DropTranslationsOfPage(uint64_t) {}
void Processor::DropTranslationsOfPageAndPcid(uint64_t, uint64_t) {}

}  // namespace nvmx::sim
