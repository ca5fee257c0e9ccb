// SPDX-License-Identifier: Apache-2.0
//
// What a guest program can do of which the SDM leaves open what comes of it. Two processors may
// then differ, and so may a processor and the core: neither is wrong.
#ifndef NVMX_BACKENDS_SIM_MACHINE_LEFT_OPEN_H_
#define NVMX_BACKENDS_SIM_MACHINE_LEFT_OPEN_H_

#include <cstdint>
#include <set>

namespace nvmx::sim {

enum class LeftOpen : uint8_t {
  kNothing,
  // Address translation of L2 sets an accessed or dirty flag of the guest's in a page that is one
  // of EPT's tables too. What the processor has cached of the tables, and when it looked, decides.
  // SDM Vol. 3C, 29.4.2 "Creating and Using Cached Translation Information".
  kPagingFlagInEptTable,
  // A paging structure of L2's lies in the APIC-access page. SDM Vol. 3C, 30.4.6 "APIC Accesses Not
  // Directly Resulting From Linear Addresses": the access may or may not be treated as one to it.
  kPagingStructureInApicAccessPage,
  // A program has written into the region of a VMCS that is active. SDM Vol. 3C, 25.11.1 "Software
  // Use of Virtual-Machine Control Structures".
  kRegionOfActiveVmcsWritten,
  // VMPTRLD or a VMCS link pointer names a region that VMCLEAR has not initialized, or whose data a
  // program has written since. SDM Vol. 3C, 25.11.3 "Initializing a VMCS".
  kVmcsNotInitialized,
};

// A short description.
const char* Name(LeftOpen kind);

// Looks on while a processor runs a program, and remembers the first such thing. Its cost is why
// not every machine has one.
class LeftOpenWatch {
 public:
  LeftOpen first() const { return first_; }

  // The processor has used the entry of an EPT paging structure at that physical address,
  void EptEntryUsed(uint64_t physical);
  // has set a flag in the entry of a paging structure of the guest's,
  void PagingFlagSet(uint64_t physical);
  // or has found such an entry in the APIC-access page.
  void PagingEntryInApicAccessPage() { Note(LeftOpen::kPagingStructureInApicAccessPage); }
  // The VMCS of the region at that address has become active, or inactive.
  void VmcsActivated(uint64_t region);
  void VmcsCleared(uint64_t region);
  // An instruction has written memory, within a page.
  void Written(uint64_t physical);

 private:
  void Note(LeftOpen kind) {
    if (first_ == LeftOpen::kNothing) first_ = kind;
  }

  LeftOpen first_ = LeftOpen::kNothing;
  // By the addresses of their pages.
  std::set<uint64_t> ept_tables_, flagged_, active_, initialized_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_LEFT_OPEN_H_
