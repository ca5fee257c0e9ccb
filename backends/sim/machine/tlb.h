// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_TLB_H_
#define NVMX_BACKENDS_SIM_MACHINE_TLB_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace nvmx::sim {

// What a mapping belongs to. SDM Vol. 3C, 29.4.1 "Information That May Be Cached".
struct MappingTag {
  enum Kind : uint64_t {
    kLinear,         // made without EPT: linear to physical
    kCombined,       // made with EPT: linear to physical
    kGuestPhysical,  // guest-physical to physical
    kEptTable,       // guest-physical to the last EPT paging structure of the walk
  };
  // EP4TA, whose bits 11:0 are 0, and the kind.
  uint64_t space;
  // VPID in bits 31:16, PCID in bits 11:0; 0 for the last two kinds.
  uint32_t context;

  static constexpr MappingTag Linear(uint16_t vpid, uint16_t pcid) {
    return {kLinear, uint32_t{vpid} << 16 | pcid};
  }
  static constexpr MappingTag Combined(uint16_t vpid, uint16_t pcid, uint64_t ep4ta) {
    return {ep4ta | kCombined, uint32_t{vpid} << 16 | pcid};
  }
  static constexpr MappingTag GuestPhysical(uint64_t ep4ta) { return {ep4ta | kGuestPhysical, 0}; }
  static constexpr MappingTag EptTable(uint64_t ep4ta) { return {ep4ta | kEptTable, 0}; }
};

// What is remembered of a translation.
struct Mapping {
  uint64_t physical = 0;  // of the first byte of the page, or of the table
  uint8_t page_shift = 0;
  // The size that the guest's paging gave the page; with EPT the mapping can be smaller.
  uint8_t paging_shift = 0;
  // Rights by the guest's paging.
  bool writable = false, user = false, no_execute = false;
  bool global = false;
  // A write sets no dirty flag any more, neither in the guest's paging structures nor in EPT's.
  bool dirty = false;
  uint8_t ept_permissions = 0;  // bits 2:0 as in an EPT entry

  // The physical address of a byte of the page.
  uint64_t At(uint64_t address) const {
    return physical | (address & ((uint64_t{1} << page_shift) - 1));
  }
};

// Translations that the processor remembers. Nothing is dropped but by these functions. SDM Vol.
// 3C, 29.4 "Caching Translation Information"; Vol. 3A, 5.10 "Caching Translation Information".
class Tlb {
 public:
  Tlb();

  // A mapping of the address, or null; valid until the next call that is not const.
  const Mapping* Find(MappingTag tag, uint64_t address) const;
  // Remembers; `mapping` replaces what was found for the address before.
  void Insert(MappingTag tag, uint64_t address, const Mapping& mapping);
  // Drops what Find() finds for the address, until it finds nothing.
  void Drop(MappingTag tag, uint64_t address);

  // --- Of one VPID, linear mappings and, of all EP4TAs, combined mappings. VPID 0 is that of a
  // processor that has none in use.
  // INVLPG, page faults: the page, of the PCID, and global ones of any PCID.
  void DropPage(uint16_t vpid, uint16_t pcid, uint64_t linear);
  // INVPCID type 0: the page, of the PCID, but for global ones.
  void DropPageOfPcid(uint16_t vpid, uint16_t pcid, uint64_t linear);
  // INVVPID type 0: the page, of all PCIDs.
  void DropPageOfVpid(uint16_t vpid, uint64_t linear);
  // MOV to CR3, INVPCID type 1: all of the PCID but global ones.
  void DropPcid(uint16_t vpid, uint16_t pcid);
  // INVPCID types 2 and 3, INVVPID types 1 and 3, MOV to CR0 and CR4, VM entries and VM exits
  // without VPIDs: all.
  void DropVpid(uint16_t vpid, bool retain_globals);

  // INVVPID type 2: linear and combined mappings of all VPIDs but 0.
  void DropAllVpids();
  // EPT violations: mappings of the guest-physical address.
  void DropGuestPhysical(uint64_t ep4ta, uint64_t guest_physical);
  // INVEPT type 1: combined and guest-physical mappings of the EP4TA.
  void DropEp4ta(uint64_t ep4ta);
  // INVEPT type 2: all combined and guest-physical mappings.
  void DropAllEp4tas();
  // As after RESET. Costs what is there.
  void Clear();

  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    MappingTag tag;
    uint64_t address;  // of the first byte of the page
    Mapping mapping;
    uint32_t next;
  };
  static constexpr uint32_t kNone = ~uint32_t{0};

  size_t BucketOf(uint64_t space, uint64_t address) const;
  uint32_t FindIndex(MappingTag tag, uint64_t address) const;
  void Link(uint32_t index);
  void Unlink(uint32_t index);
  void Remove(uint32_t index);
  void Grow();
  template <typename Predicate>
  void DropIf(Predicate matches);

  // Chained hashing: nothing is lost to a conflict.
  std::vector<Entry> entries_;
  std::vector<uint32_t> buckets_;
  // How many mappings there are by kind and page size: what does not occur needs no look.
  static constexpr std::array<uint8_t, 4> kPageShifts = {12, 21, 22, 30};
  std::array<std::array<uint32_t, kPageShifts.size()>, 4> counts_{};
  uint32_t& CountOf(const Entry& entry);
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TLB_H_
