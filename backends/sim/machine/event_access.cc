// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/event_access.h"

#include "core/x86/address.h"

namespace nvmx::sim {
namespace {

using Fault = std::optional<EventFault>;

constexpr uint64_t kDescriptorBytes = 8;

Fault ToEventFault(const std::optional<TranslationFault>& fault, const EventFault& otherwise) {
  if (!fault) return std::nullopt;
  return EventFault::FromTranslation(*fault, otherwise);
}

}  // namespace

Fault TableAccess::Read(uint64_t linear, std::span<std::byte> bytes, const EventFault& otherwise) {
  return ToEventFault(mmu_.Read(context_, linear, bytes), otherwise);
}

uint64_t TableAccess::AddressOf(uint16_t selector) const {
  const uint64_t base =
      (selector & Selector::kTi) != 0 ? registers_.ldtr.base : registers_.gdtr_base;
  return base + (selector & ~uint64_t{7});
}

Fault TableAccess::ReadDescriptor(uint16_t selector, SegmentDescriptor& descriptor,
                                  const EventFault& otherwise) {
  uint64_t limit = registers_.gdtr_limit;
  if ((selector & Selector::kTi) != 0) {
    if (AccessRights{static_cast<uint32_t>(registers_.ldtr.access_rights)}.unusable()) {
      return otherwise;
    }
    limit = registers_.ldtr.limit;
  }
  if ((selector & ~uint64_t{7}) + kDescriptorBytes - 1 > limit) return otherwise;
  return ReadValue(AddressOf(selector), descriptor.value, otherwise);
}

Fault TableAccess::SetAccessed(uint16_t selector, SegmentDescriptor& descriptor,
                               const EventFault& otherwise) {
  if ((descriptor.value & SegmentDescriptor::kAccessed) != 0) return std::nullopt;
  descriptor.value |= SegmentDescriptor::kAccessed;
  return ToEventFault(
      mmu_.Write(context_, AddressOf(selector), std::as_bytes(std::span(&descriptor.value, 1))),
      otherwise);
}

StackAccess::StackAccess(Mmu& mmu, const TranslationContext& context, const SegmentState& ss,
                         uint64_t pointer, const EventFault& otherwise)
    : mmu_(mmu), context_(context), ss_(ss), pointer_(pointer), otherwise_(otherwise) {
  context_.implicit = false;
}

uint64_t StackAccess::PointerMask() const {
  if (is_64_bit_) return ~uint64_t{0};
  return AccessRights{static_cast<uint32_t>(ss_.access_rights)}.db() ? 0xFFFF'FFFF : 0xFFFF;
}

// SDM Vol. 3A, 6.3 "Limit Checking".
bool StackAccess::IsInSegment(uint64_t offset, uint64_t bytes) const {
  if (is_64_bit_) {
    const unsigned width = (context_.cr4 & Cr4::kLa57) != 0 ? 57 : 48;
    return IsCanonical(offset, width) && IsCanonical(offset + bytes - 1, width);
  }
  const AccessRights rights{static_cast<uint32_t>(ss_.access_rights)};
  const uint64_t last = offset + bytes - 1;
  if (rights.s() && (rights.type() & AccessRights::kTypeExpandDown) != 0) {
    return offset > ss_.limit && last <= (rights.db() ? 0xFFFF'FFFF : 0xFFFF);
  }
  return last <= ss_.limit;
}

Fault StackAccess::CheckRoomToPush(uint64_t bytes) const {
  const uint64_t offset = (pointer_ - bytes) & PointerMask();
  return IsInSegment(offset, bytes) ? std::nullopt : Fault(otherwise_);
}

void StackAccess::AddToPointer(uint64_t bytes) {
  const uint64_t mask = PointerMask();
  pointer_ = (pointer_ & ~mask) | ((pointer_ + bytes) & mask);
}

Fault StackAccess::Push(uint64_t value, unsigned bytes) {
  const uint64_t offset = (pointer_ - bytes) & PointerMask();
  if (!IsInSegment(offset, bytes)) return otherwise_;
  const uint64_t linear = is_64_bit_ ? offset : ss_.base + offset;
  Fault fault = ToEventFault(
      mmu_.Write(context_, linear, std::as_bytes(std::span(&value, 1)).first(bytes)), otherwise_);
  if (!fault) AddToPointer(-uint64_t{bytes});
  return fault;
}

Fault StackAccess::Pop(uint64_t& value, unsigned bytes) {
  const uint64_t offset = pointer_ & PointerMask();
  if (!IsInSegment(offset, bytes)) return otherwise_;
  value = 0;
  const uint64_t linear = is_64_bit_ ? offset : ss_.base + offset;
  Fault fault = ToEventFault(
      mmu_.Read(context_, linear, std::as_writable_bytes(std::span(&value, 1)).first(bytes)),
      otherwise_);
  if (!fault) AddToPointer(bytes);
  return fault;
}

}  // namespace nvmx::sim
