// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/generator/page_tables.h"

#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/x86/address.h"
#include "core/x86/memory_type.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kEntries = 512;
constexpr uint64_t kEntryBytes = sizeof(uint64_t);
constexpr unsigned kLargePageShift = 21;
constexpr uint64_t kLargePage = uint64_t{1} << 7;

}  // namespace

uint64_t PageTables::PteOf(const ProgramBuilder& builder, uint64_t window_offset) const {
  return pt + (builder.AddressOf(window_offset) >> kPageShift) % kEntries * kEntryBytes;
}

PageTables AddPageTables(ProgramBuilder& builder, const EntryBits& bits, const char* name) {
  constexpr size_t kTables = 4;
  const uint64_t first = builder.AddPages(name, kTables);
  const PageTables t{first, first + kPageSize, first + 2 * kPageSize, first + 3 * kPageSize};
  builder.Put64(t.pml4, builder.AddressOf(t.pdpt) | bits.table);
  builder.Put64(t.pdpt, builder.AddressOf(t.pd) | bits.table);
  for (uint64_t i = 0; i < kEntries; ++i) {
    builder.Put64(t.pd + i * kEntryBytes, i << kLargePageShift | bits.table | bits.page | kLargePage);
  }
  const uint64_t around = builder.AddressOf(0) >> kLargePageShift;
  builder.Put64(t.pd + around * kEntryBytes, builder.AddressOf(t.pt) | bits.table);
  for (uint64_t i = 0; i < kEntries; ++i) {
    builder.Put64(t.pt + i * kEntryBytes,
                  around << kLargePageShift | i << kPageShift | bits.table | bits.page);
  }
  return t;
}

Ept AddEptTables(ProgramBuilder& builder, const char* name) {
  constexpr uint64_t kWriteBack = static_cast<uint64_t>(MemoryType::kWriteBack);
  constexpr uint64_t kFourLevels = uint64_t{3} << Eptp::kWalkLengthShift;
  const PageTables tables = AddPageTables(
      builder, {EptEntry::kPermissions, kWriteBack << EptEntry::kMemoryTypeShift}, name);
  return {tables, builder.AddressOf(tables.pml4) | kWriteBack | kFourLevels};
}

void UseEpt(ProgramBuilder& builder, const Ept& ept) {
  builder.SetControls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableEpt);
  builder.Prelude(ProgramBuilder::Write(VmcsField::kEptPointer, ept.eptp));
}

uint64_t SomePageOfL2(Random& random) {
  constexpr uint64_t kPages[] = {
      ProgramBuilder::kData,
      ProgramBuilder::kData,
      ProgramBuilder::kData + kPageSize,
      ProgramBuilder::kData + kPageSize,
      lhv::kL2StackTop - kPageSize,
      lhv::kPageTableOffset,
      lhv::kPageTableOffset + kPageSize,
      PageBase(lhv::kGdtOffset),
      PageBase(lhv::kL2IdtOffset),
  };
  return random.Of(kPages);
}

}  // namespace nvmx::sim
