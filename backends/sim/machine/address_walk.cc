// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/address_walk.h"

#include <algorithm>

#include "backends/sim/machine/access_rights.h"
#include "core/vmx/ept.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/exception.h"

namespace nvmx::sim {
namespace {

using Fault = std::optional<TranslationFault>;

// Page tables and page directories: their reach is the size of a page, which is what the cache can
// hold.
constexpr unsigned kHighestRememberedTable = 2;

}  // namespace

MappingTag AddressWalk::LinearTag(const TranslationContext& context) {
  constexpr uint64_t kPcid = 0xFFF;
  const auto pcid =
      static_cast<uint16_t>((context.cr4 & Cr4::kPcide) != 0 ? context.cr3 & kPcid : 0);
  return context.ept ? MappingTag::Combined(context.vpid, pcid, Eptp::Ep4ta(context.eptp))
                     : MappingTag::Linear(context.vpid, pcid);
}

// --- Paging

Fault AddressWalk::Linear(uint64_t linear, AccessKind kind, Mapping& mapping) {
  const PagingMode mode = PagingModeOf(context_.cr0, context_.cr4, context_.efer);
  if (mode == PagingMode::kNone) {
    // Every linear address is then one of user mode, writable and executable.
    mapping.user = mapping.writable = true;
    return GuestPhysical(FinalAccess(linear, linear, kind, mapping), mapping);
  }
  const PagingFormat format(mode, context_.cr4, context_.efer,
                            static_cast<unsigned>(capabilities_.physical_address_width));
  PagingWalk walk;
  if (Fault fault = WalkPaging(format, linear, kind, walk, mapping)) return fault;
  if (!PagingAllows(context_, mapping, kind)) {
    return PageFault(linear, kind, PageFaultErrorCode::kP);
  }
  if (trace_ != nullptr) {
    if (Fault fault = SetPagingFlags(format, linear, kind, walk)) return fault;
  }
  mapping.page_shift = mapping.paging_shift;
  mapping.physical = walk.page;
  mapping.dirty =
      kind == AccessKind::kWrite || (walk.entries[walk.count - 1].value & PagingEntry::kDirty) != 0;
  if (context_.ept) {
    const GuestPhysicalAccess access = FinalAccess(mapping.At(linear), linear, kind, mapping);
    Mapping ept;
    if (Fault fault = GuestPhysical(access, ept)) return fault;
    const uint64_t physical = ept.At(access.address);
    mapping.page_shift = std::min(mapping.page_shift, ept.page_shift);
    mapping.physical = physical >> mapping.page_shift << mapping.page_shift;
    mapping.ept_permissions = ept.ept_permissions;
    mapping.dirty = mapping.dirty && ept.dirty;
  }
  if (Tlb* tlb = cache()) tlb->Insert(LinearTag(context_), linear, mapping);
  return std::nullopt;
}

Fault AddressWalk::WalkPaging(const PagingFormat& format, uint64_t linear, AccessKind kind,
                              PagingWalk& walk, Mapping& mapping) {
  mapping.user = mapping.writable = true;
  if (!format.HasRootTable(context_.pdptes, linear)) return PageFault(linear, kind, 0);
  uint64_t table = format.RootTable(context_.cr3, context_.pdptes, linear);
  for (unsigned level = format.first_level();; --level) {
    UsedEntry& entry = walk.entries[walk.count++];
    entry.address = format.EntryAddress(table, level, linear);
    if (Fault fault = ReadEntry(format, linear, entry)) return fault;
    if ((entry.value & PagingEntry::kPresent) == 0) return PageFault(linear, kind, 0);
    if (format.HasReservedBits(level, entry.value)) {
      return PageFault(linear, kind, PageFaultErrorCode::kP | PageFaultErrorCode::kRsvd);
    }
    mapping.user = mapping.user && (entry.value & PagingEntry::kUser) != 0;
    mapping.writable = mapping.writable && (entry.value & PagingEntry::kWritable) != 0;
    mapping.no_execute = mapping.no_execute || format.ForbidsExecution(entry.value);
    if (format.MapsPage(level, entry.value)) {
      mapping.paging_shift = static_cast<uint8_t>(format.Shift(level));
      mapping.global = (entry.value & PagingEntry::kGlobal) != 0 && (context_.cr4 & Cr4::kPge) != 0;
      walk.page = format.PageAddress(level, entry.value);
      return std::nullopt;
    }
    table = format.TableAddress(entry.value);
  }
}

// With accessed and dirty flags for EPT the processor's accesses to the guest's paging structures
// count as writes, and a violation reports both. SDM Vol. 3C, 29.3.3.2 "EPT Violations"; 28.2.1,
// table "Exit Qualification for EPT Violations".
Fault AddressWalk::ReadEntry(const PagingFormat& format, uint64_t linear, UsedEntry& entry) {
  entry.physical = entry.address;
  if (context_.ept) {
    GuestPhysicalAccess access{entry.address, EptEntry::kRead,
                               EptViolation::kRead | EptViolation::kLinearAddressValid, linear};
    if (HasEptFlags()) {
      access.needs = EptEntry::kWrite;
      access.qualification |= EptViolation::kWrite;
    }
    Mapping mapping;
    if (Fault fault = GuestPhysical(access, mapping)) return fault;
    entry.physical = mapping.At(entry.address);
  }
  if (Fault fault = ReportApicAccess(context_, entry.physical, linear, false)) {
    if (LeftOpenWatch* watch = memory_.watch()) watch->PagingEntryInApicAccessPage();
    if (context_.ept) return fault;
  }
  entry.value = format.entry_bytes() == sizeof(uint32_t) ? memory_.Load<uint32_t>(entry.physical)
                                                         : memory_.Load<uint64_t>(entry.physical);
  return std::nullopt;
}

// SDM Vol. 3A, 5.8 "Accessed and Dirty Flags". The update is a write to a guest paging structure,
// for which EPT can lack the permission even if the entry could be read.
Fault AddressWalk::SetPagingFlags(const PagingFormat& format, uint64_t linear, AccessKind kind,
                                  const PagingWalk& walk) {
  for (size_t i = 0; i < walk.count; ++i) {
    const UsedEntry& entry = walk.entries[i];
    const bool is_leaf = i + 1 == walk.count;
    uint64_t wanted = entry.value | PagingEntry::kAccessed;
    if (is_leaf && kind == AccessKind::kWrite) wanted |= PagingEntry::kDirty;
    if (wanted == entry.value) continue;
    uint64_t physical = entry.physical;
    if (context_.ept) {
      // Of a read-modify-write bit 1 is set; bit 0 is the implementation's choice. With accessed
      // and dirty flags for EPT the entry was read as if written, so that it cannot fail here.
      const GuestPhysicalAccess access{entry.address, EptEntry::kWrite,
                                       EptViolation::kWrite | EptViolation::kLinearAddressValid,
                                       linear};
      Mapping mapping;
      if (Fault fault = GuestPhysical(access, mapping)) return fault;
      physical = mapping.At(entry.address);
    }
    if (LeftOpenWatch* watch = memory_.watch()) watch->PagingFlagSet(physical);
    if (format.entry_bytes() == sizeof(uint32_t)) {
      memory_.Store<uint32_t>(physical, static_cast<uint32_t>(wanted));
    } else {
      memory_.Store<uint64_t>(physical, wanted);
    }
  }
  return std::nullopt;
}

// A page fault drops what is cached for the address, so that it does not come again when what
// caused it has gone. SDM Vol. 3A, 5.10.4.1 "Operations that Invalidate TLBs and Paging-Structure
// Caches".
TranslationFault AddressWalk::PageFault(uint64_t linear, AccessKind kind, uint32_t more) {
  if (Tlb* tlb = cache()) {
    const MappingTag tag = LinearTag(context_);
    tlb->DropPage(static_cast<uint16_t>(tag.context >> 16), static_cast<uint16_t>(tag.context),
                  linear);
  }
  return {.kind = TranslationFault::Kind::kPageFault,
          .linear = linear,
          .error_code = PageFaultErrorCodeOf(context_, kind) | more};
}

// --- EPT

bool AddressWalk::HasEptFlags() const { return (context_.eptp & Eptp::kAccessedAndDirty) != 0; }

GuestPhysicalAccess AddressWalk::FinalAccess(uint64_t guest_physical, uint64_t linear,
                                             AccessKind kind, const Mapping& page) const {
  // Bits 2:0 of an entry and of the qualification have the same order.
  const uint64_t needs = EptPermissionFor(kind);
  uint64_t qualification =
      needs | EptViolation::kLinearAddressValid | EptViolation::kToFinalAddress;
  if ((capabilities_.ept_vpid_cap & EptVpidCap::kAdvancedEptViolationInformation) != 0) {
    qualification |= (page.user ? EptViolation::kUserLinearAddress : 0) |
                     (page.writable ? EptViolation::kWritableLinearAddress : 0) |
                     (page.no_execute ? EptViolation::kNoExecuteLinearAddress : 0);
  }
  return {guest_physical, needs, qualification, linear};
}

// A violation drops what is cached for the guest-physical address. What was cached for the linear
// address has been dropped before the walk. SDM Vol. 3C, 29.4.3.1 "Operations that Invalidate
// Cached Mappings".
TranslationFault AddressWalk::EptViolation(const GuestPhysicalAccess& access,
                                           uint64_t permissions) {
  if (Tlb* tlb = cache()) {
    tlb->DropGuestPhysical(Eptp::Ep4ta(context_.eptp), access.address);
  }
  constexpr unsigned kPermissionsShift = 3;
  return {.kind = TranslationFault::Kind::kEptViolation,
          .linear = access.linear,
          .qualification = access.qualification | permissions << kPermissionsShift,
          .guest_physical = access.address};
}

Fault AddressWalk::GuestPhysical(const GuestPhysicalAccess& access, Mapping& mapping) {
  const MappingTag tag = MappingTag::GuestPhysical(Eptp::Ep4ta(context_.eptp));
  const bool writes = (access.needs & EptEntry::kWrite) != 0;
  if (const Tlb* tlb = cache()) {
    if (const Mapping* found = tlb->Find(tag, access.address)) {
      const uint64_t permissions = found->ept_permissions;
      if ((permissions & access.needs) != access.needs) return EptViolation(access, permissions);
      if (!writes || found->dirty) {
        mapping.physical = found->physical;
        mapping.page_shift = found->page_shift;
        mapping.ept_permissions = found->ept_permissions;
        mapping.dirty = found->dirty;
        return std::nullopt;
      }
    }
  }
  const EptWalk walk = WalkEptFromNearest(access.address);
  if (LeftOpenWatch* watch = memory_.watch()) {
    for (size_t i = 0; i < walk.count; ++i) watch->EptEntryUsed(walk.entries[i].address);
  }
  if (walk.end == EptWalk::End::kMisconfiguration) {
    return TranslationFault{.kind = TranslationFault::Kind::kEptMisconfiguration,
                            .linear = access.linear,
                            .guest_physical = access.address};
  }
  if (walk.end == EptWalk::End::kNotPresent || (walk.permissions & access.needs) != access.needs) {
    return EptViolation(access, walk.permissions);
  }
  if (trace_ != nullptr && HasEptFlags()) {
    if (Fault fault = SetEptFlags(walk, access)) return fault;
  }
  mapping.physical = walk.page;
  mapping.page_shift = static_cast<uint8_t>(walk.page_shift);
  mapping.ept_permissions = static_cast<uint8_t>(walk.permissions);
  mapping.dirty =
      !HasEptFlags() || writes || (walk.entries[walk.count - 1].value & EptEntry::kDirty) != 0;
  if (cache() != nullptr) RememberEpt(access.address, walk, mapping);
  return std::nullopt;
}

// The last table is remembered beside the page: a walk for another page of it does not look at the
// entries above, whether they have changed or not.
void AddressWalk::RememberEpt(uint64_t guest_physical, const EptWalk& walk,
                              const Mapping& mapping) {
  const uint64_t ep4ta = Eptp::Ep4ta(context_.eptp);
  Mapping page;
  page.physical = mapping.physical;
  page.page_shift = mapping.page_shift;
  page.ept_permissions = mapping.ept_permissions;
  page.dirty = mapping.dirty;
  cache()->Insert(MappingTag::GuestPhysical(ep4ta), guest_physical, page);
  if (walk.last_table.level > kHighestRememberedTable) return;
  Mapping table;
  table.physical = walk.last_table.table;
  table.page_shift = static_cast<uint8_t>(kPageShift + 9 * walk.last_table.level);
  table.ept_permissions = static_cast<uint8_t>(walk.last_table.permissions);
  cache()->Insert(MappingTag::EptTable(ep4ta), guest_physical, table);
}

EptWalk AddressWalk::WalkEptFromNearest(uint64_t guest_physical) const {
  EptPosition from = EptRoot(context_.eptp);
  if (const Tlb* tlb = cache()) {
    const auto tag = MappingTag::EptTable(Eptp::Ep4ta(context_.eptp));
    if (const Mapping* table = tlb->Find(tag, guest_physical)) {
      from = {table->physical, (table->page_shift - kPageShift) / 9U, table->ept_permissions};
    }
  }
  return WalkEpt(memory_, capabilities_, from, guest_physical);
}

// SDM Vol. 3C, 29.3.5 "Accessed and Dirty Flags for EPT"; 29.3.6 "Page-Modification Logging": the
// index is looked at before any flag is set, an accessed flag too.
Fault AddressWalk::SetEptFlags(const EptWalk& walk, const GuestPhysicalAccess& access) {
  constexpr uint16_t kLastLogIndex = 511;
  const bool writes = (access.needs & EptEntry::kWrite) != 0;
  const EptWalk::Entry& leaf = walk.entries[walk.count - 1];
  const bool dirties = writes && (leaf.value & EptEntry::kDirty) == 0;
  bool changes = dirties;
  for (size_t i = 0; i < walk.count; ++i) {
    changes = changes || (walk.entries[i].value & EptEntry::kAccessed) == 0;
  }
  if (!changes) return std::nullopt;
  if (context_.page_modification_log && trace_->log_index > kLastLogIndex) {
    return TranslationFault{.kind = TranslationFault::Kind::kPageModificationLogFull,
                            .linear = access.linear,
                            .guest_physical = access.address};
  }
  for (size_t i = 0; i < walk.count; ++i) {
    const EptWalk::Entry& entry = walk.entries[i];
    const bool is_leaf = i + 1 == walk.count;
    memory_.Store<uint64_t>(entry.address, entry.value | EptEntry::kAccessed |
                                               (is_leaf && dirties ? EptEntry::kDirty : 0));
  }
  if (context_.page_modification_log && dirties) {
    memory_.Store<uint64_t>(PageBase(context_.log_address) + 8 * trace_->log_index,
                            PageBase(access.address));
    --trace_->log_index;
  }
  return std::nullopt;
}

Fault ReportApicAccess(const TranslationContext& context, uint64_t physical, uint64_t linear,
                       bool is_linear_access) {
  if (!context.virtualize_apic_accesses ||
      PageBase(physical) != PageBase(context.apic_access_address)) {
    return std::nullopt;
  }
  return TranslationFault{.kind = TranslationFault::Kind::kApicAccess,
                          .linear = linear,
                          .physical = physical,
                          .is_linear_access = is_linear_access};
}

}  // namespace nvmx::sim
