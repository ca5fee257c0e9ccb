// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/mmu.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "backends/sim/machine/access_rights.h"
#include "backends/sim/machine/address_walk.h"
#include "backends/sim/machine/paging_format.h"
#include "core/vmx/ept.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/exception.h"

namespace nvmx::sim {
namespace {

using Fault = std::optional<TranslationFault>;

constexpr unsigned kLinearBits = 48;
constexpr unsigned kLinearBits5Level = 57;

bool HasPaging(const TranslationContext& context) { return (context.cr0 & Cr0::kPg) != 0; }

bool IsCanonicalIn(const TranslationContext& context, uint64_t linear) {
  const bool five = (context.cr4 & Cr4::kLa57) != 0;
  return IsCanonical(linear, five ? kLinearBits5Level : kLinearBits);
}

// Outside IA-32e mode linear addresses have 32 bits.
uint64_t LinearIn(const TranslationContext& context, uint64_t linear) {
  return (context.efer & Efer::kLma) != 0 ? linear : linear & 0xFFFF'FFFF;
}

}  // namespace

struct Mmu::Pieces {
  struct Piece {
    uint64_t physical;
    size_t bytes;
  };
  std::array<Piece, 2> pieces;
  size_t count = 0;
};

Mmu::Mmu(Memory& memory, const Capabilities& capabilities)
    : memory_(memory), capabilities_(capabilities) {}

void Mmu::KeepTranslations(bool keep) {
  keep_ = keep;
  tlb_.Clear();
}

bool Mmu::FindCached(const TranslationContext& context, uint64_t linear, AccessKind kind,
                     uint64_t& physical, Fault& fault) {
  const MappingTag tag = AddressWalk::LinearTag(context);
  const Mapping* mapping = tlb_.Find(tag, linear);
  if (mapping == nullptr) return false;
  if (!PagingAllows(context, *mapping, kind)) {
    fault = TranslationFault{
        .kind = TranslationFault::Kind::kPageFault,
        .linear = linear,
        .error_code = PageFaultErrorCodeOf(context, kind) | PageFaultErrorCode::kP};
    tlb_.DropPage(context.vpid, static_cast<uint16_t>(tag.context), linear);
    return true;
  }
  // Where EPT forbids, a combined mapping does not know the guest-physical address that the exit
  // reports: a walk finds that, and what it meets decides. And where a dirty flag is to be set, the
  // walk sets it. SDM Vol. 3A, 5.8 "Accessed and Dirty Flags".
  const uint64_t needs = EptPermissionFor(kind);
  const bool ept_allows = !context.ept || (mapping->ept_permissions & needs) == needs;
  if (!ept_allows || (kind == AccessKind::kWrite && !mapping->dirty)) {
    tlb_.Drop(tag, linear);
    return false;
  }
  physical = mapping->At(linear);
  return true;
}

Fault Mmu::Translate(const TranslationContext& context, uint64_t linear, AccessKind kind,
                     uint64_t& physical) {
  linear = LinearIn(context, linear);
  Fault fault;
  if (!HasPaging(context) && !context.ept) {
    physical = linear;
  } else if (!HasPaging(context) || !keep_ || !FindCached(context, linear, kind, physical, fault)) {
    if (HasPaging(context) && !IsCanonicalIn(context, linear)) {
      return TranslationFault{.kind = TranslationFault::Kind::kNotCanonical, .linear = linear};
    }
    const AddressWalk::Trace trace{keep_ ? &tlb_ : nullptr, log_index};
    Mapping mapping;
    fault = AddressWalk(memory_, capabilities_, context, &trace).Linear(linear, kind, mapping);
    physical = mapping.At(linear);
  }
  if (fault) return fault;
  return ReportApicAccess(context, physical, linear, true);
}

Fault Mmu::TranslateAll(const TranslationContext& context, uint64_t linear, AccessKind kind,
                        size_t bytes, Pieces& pieces) {
  assert(bytes <= kPageSize);
  while (bytes != 0) {
    const size_t in_page = std::min<size_t>(bytes, kPageSize - PageOffset(linear));
    Pieces::Piece& piece = pieces.pieces[pieces.count++];
    piece.bytes = in_page;
    if (Fault fault = Translate(context, linear, kind, piece.physical)) return fault;
    linear += in_page;
    bytes -= in_page;
  }
  return std::nullopt;
}

Fault Mmu::Read(const TranslationContext& context, uint64_t linear, std::span<std::byte> bytes) {
  Pieces pieces;
  if (Fault fault = TranslateAll(context, linear, AccessKind::kRead, bytes.size(), pieces)) {
    return fault;
  }
  for (size_t i = 0; i < pieces.count; ++i) {
    memory_.ReadPhysical(pieces.pieces[i].physical, bytes.first(pieces.pieces[i].bytes));
    bytes = bytes.subspan(pieces.pieces[i].bytes);
  }
  return std::nullopt;
}

Fault Mmu::Write(const TranslationContext& context, uint64_t linear,
                 std::span<const std::byte> bytes) {
  Pieces pieces;
  if (Fault fault = TranslateAll(context, linear, AccessKind::kWrite, bytes.size(), pieces)) {
    return fault;
  }
  for (size_t i = 0; i < pieces.count; ++i) {
    if (LeftOpenWatch* watch = memory_.watch()) watch->Written(pieces.pieces[i].physical);
    memory_.WritePhysical(pieces.pieces[i].physical, bytes.first(pieces.pieces[i].bytes));
    bytes = bytes.subspan(pieces.pieces[i].bytes);
  }
  return std::nullopt;
}

void Mmu::Peek(const TranslationContext& context, uint64_t linear,
               std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    linear = LinearIn(context, linear);
    const size_t in_page = std::min<size_t>(bytes.size(), kPageSize - PageOffset(linear));
    if (const std::optional<uint64_t> physical = PeekAddress(context, linear)) {
      memory_.ReadPhysical(*physical, bytes.first(in_page));
    } else {
      std::memset(bytes.data(), 0, in_page);
    }
    bytes = bytes.subspan(in_page);
    linear += in_page;
  }
}

std::optional<uint64_t> Mmu::PeekAddress(const TranslationContext& context, uint64_t linear) const {
  if (!HasPaging(context) && !context.ept) return linear;
  if (HasPaging(context) && !IsCanonicalIn(context, linear)) return std::nullopt;
  if (const Mapping* found = tlb_.Find(AddressWalk::LinearTag(context), linear)) {
    if (!PagingAllows(context, *found, AccessKind::kRead)) return std::nullopt;
    return found->At(linear);
  }
  // There are no linear mappings then, and an access goes by these.
  if (!HasPaging(context)) {
    const Mapping* found = tlb_.Find(MappingTag::GuestPhysical(Eptp::Ep4ta(context.eptp)), linear);
    if (found != nullptr && (found->ept_permissions & EptEntry::kRead) != 0) {
      return found->At(linear);
    }
  }
  Mapping mapping;
  if (AddressWalk(memory_, capabilities_, context, nullptr)
          .Linear(linear, AccessKind::kRead, mapping)) {
    return std::nullopt;
  }
  return mapping.At(linear);
}

Mmu::PdpteLoad Mmu::LoadPdptes(const TranslationContext& context, uint64_t cr3) {
  constexpr uint64_t kTable = 0xFFFF'FFE0;  // 32 bytes, below 4 GBytes
  const uint64_t table = cr3 & kTable;
  PdpteLoad load;
  uint64_t physical = table;
  if (context.ept) {
    // No linear address led here, and the load is a read even with accessed and dirty flags for
    // EPT. SDM Vol. 3C, 28.2.1, "Exit Qualification for EPT Violations"; 29.3.5.
    const AddressWalk::Trace trace{keep_ ? &tlb_ : nullptr, log_index};
    Mapping mapping;
    load.fault = AddressWalk(memory_, capabilities_, context, &trace)
                     .GuestPhysical({table, EptEntry::kRead, EptViolation::kRead, 0}, mapping);
    if (load.fault) return load;
    physical = mapping.At(table);
    load.fault = ReportApicAccess(context, physical, 0, false);
    if (load.fault) return load;
  }
  memory_.ReadPhysical(physical, std::as_writable_bytes(std::span(load.pdptes)));
  const auto width = static_cast<unsigned>(capabilities_.physical_address_width);
  for (uint64_t pdpte : load.pdptes) {
    load.reserved_bits = load.reserved_bits || ((pdpte & PagingEntry::kPresent) != 0 &&
                                                HasReservedPdpteBits(pdpte, width));
  }
  return load;
}

}  // namespace nvmx::sim
