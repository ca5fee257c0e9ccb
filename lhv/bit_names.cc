// SPDX-License-Identifier: Apache-2.0
#include "lhv/bit_names.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "core/vmx/ept.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"
#include "lhv/paging_tables.h"

namespace nvmx::lhv {
namespace {

struct NamedBit {
  const char* kind;
  const char* name;
  uint64_t bit;
};

constexpr NamedBit kBits[] = {
    {"cr0", "PE", Cr0::kPe},
    {"cr0", "MP", Cr0::kMp},
    {"cr0", "EM", Cr0::kEm},
    {"cr0", "TS", Cr0::kTs},
    {"cr0", "ET", Cr0::kEt},
    {"cr0", "NE", Cr0::kNe},
    {"cr0", "WP", Cr0::kWp},
    {"cr0", "AM", Cr0::kAm},
    {"cr0", "NW", Cr0::kNw},
    {"cr0", "CD", Cr0::kCd},
    {"cr0", "PG", Cr0::kPg},
    {"cr4", "VME", Cr4::kVme},
    {"cr4", "PVI", Cr4::kPvi},
    {"cr4", "TSD", Cr4::kTsd},
    {"cr4", "DE", Cr4::kDe},
    {"cr4", "PSE", Cr4::kPse},
    {"cr4", "PAE", Cr4::kPae},
    {"cr4", "MCE", Cr4::kMce},
    {"cr4", "PGE", Cr4::kPge},
    {"cr4", "PCE", Cr4::kPce},
    {"cr4", "OSFXSR", Cr4::kOsfxsr},
    {"cr4", "UMIP", Cr4::kUmip},
    {"cr4", "LA57", Cr4::kLa57},
    {"cr4", "VMXE", Cr4::kVmxe},
    {"cr4", "SMXE", Cr4::kSmxe},
    {"cr4", "PCIDE", Cr4::kPcide},
    {"cr4", "OSXSAVE", Cr4::kOsxsave},
    {"cr4", "SMEP", Cr4::kSmep},
    {"cr4", "SMAP", Cr4::kSmap},
    {"cr4", "PKE", Cr4::kPke},
    {"cr4", "CET", Cr4::kCet},
    {"efer", "SCE", Efer::kSce},
    {"efer", "LME", Efer::kLme},
    {"efer", "LMA", Efer::kLma},
    {"efer", "NXE", Efer::kNxe},
    {"rflags", "CF", Rflags::kCf},
    {"rflags", "FIXED1", Rflags::kFixed1},
    {"rflags", "ZF", Rflags::kZf},
    {"rflags", "TF", Rflags::kTf},
    {"rflags", "IF", Rflags::kIf},
    {"rflags", "IOPL", Rflags::kIopl},
    {"rflags", "NT", Rflags::kNt},
    {"rflags", "RF", Rflags::kRf},
    {"rflags", "VM", Rflags::kVm},
    {"rflags", "AC", Rflags::kAc},
    {"rflags", "ID", Rflags::kId},
    {"interruptibility", "STI", Interruptibility::kBlockingBySti},
    {"interruptibility", "MOV_SS", Interruptibility::kBlockingByMovSs},
    {"interruptibility", "SMI", Interruptibility::kBlockingBySmi},
    {"interruptibility", "NMI", Interruptibility::kBlockingByNmi},
    {"interruptibility", "ENCLAVE", Interruptibility::kEnclaveInterruption},
    {"pending_debug", "B0", PendingDebugExceptions::kB0},
    {"pending_debug", "B1", PendingDebugExceptions::kB1},
    {"pending_debug", "B2", PendingDebugExceptions::kB2},
    {"pending_debug", "B3", PendingDebugExceptions::kB3},
    {"pending_debug", "ENABLED_BREAKPOINT", PendingDebugExceptions::kEnabledBreakpoint},
    {"pending_debug", "BS", PendingDebugExceptions::kBs},
    {"access_rights", "ACCESSED", AccessRights::kTypeAccessed},
    {"access_rights", "WRITABLE", AccessRights::kTypeWritable},
    {"access_rights", "READABLE", AccessRights::kTypeReadable},
    {"access_rights", "EXPAND_DOWN", AccessRights::kTypeExpandDown},
    {"access_rights", "CONFORMING", AccessRights::kTypeConforming},
    {"access_rights", "CODE", AccessRights::kTypeCode},
    {"access_rights", "LDT", AccessRights::kTypeLdt},
    {"access_rights", "BUSY_TSS16", AccessRights::kTypeBusyTss16},
    {"access_rights", "BUSY_TSS", AccessRights::kTypeBusyTss},
    {"access_rights", "S", AccessRights::kS},
    {"access_rights", "DPL3", AccessRights::kDpl},
    {"access_rights", "P", AccessRights::kP},
    {"access_rights", "L", AccessRights::kL},
    {"access_rights", "DB", AccessRights::kDb},
    {"access_rights", "G", AccessRights::kG},
    {"access_rights", "UNUSABLE", AccessRights::kUnusable},
    {"ept_entry", "IGNORE_PAT", EptEntry::kIgnorePat},
    {"ept_entry", "ACCESSED", EptEntry::kAccessed},
    {"ept_entry", "DIRTY", EptEntry::kDirty},
    {"ept_entry", "USER_EXECUTE", EptEntry::kUserExecute},
    {"ept_entry", "SUPPRESS_VE", EptEntry::kSuppressVe},
    {"page_entry", "PWT", PageEntry::kPwt},
    {"page_entry", "PCD", PageEntry::kPcd},
    {"page_entry", "ACCESSED", PageEntry::kAccessed},
    {"page_entry", "DIRTY", PageEntry::kDirty},
    {"page_entry", "GLOBAL", PageEntry::kGlobal},
    {"page_entry", "PAT", PageEntry::kPat},
    {"page_entry", "LARGE_PAT", PageEntry::kLargePat},
};

std::vector<std::string> NamesOf(const std::string& kind) {
  std::vector<std::string> names;
  for (const NamedBit& row : kBits) {
    if (row.kind == kind) names.push_back(row.name);
  }
  return names;
}

}  // namespace

std::vector<std::string> BitValueNames() {
  std::vector<std::string> kinds;
  for (const NamedBit& row : kBits) {
    if (kinds.empty() || kinds.back() != row.kind) kinds.push_back(row.kind);
  }
  return kinds;
}

std::optional<uint64_t> ReadBits(SourceReader& reader, const std::string& kind,
                                 const YAML::Node& list) {
  if (!reader.CheckList(list, kind)) return std::nullopt;
  uint64_t bits = 0;
  for (const YAML::Node& node : list) {
    if (SourceReader::LooksLikeNumber(node)) {
      const auto number = reader.Number(node, absl::StrCat("a bit of ", kind));
      if (!number) return std::nullopt;
      bits |= *number;
      continue;
    }
    const auto name = reader.Word(node, absl::StrCat("a bit of ", kind));
    if (!name) return std::nullopt;
    const auto found = std::find_if(std::begin(kBits), std::end(kBits), [&](const NamedBit& row) {
      return row.kind == kind && row.name == *name;
    });
    if (found == std::end(kBits)) {
      reader.FailUnknown(node, absl::StrCat("bit of ", kind), *name, NamesOf(kind));
      return std::nullopt;
    }
    bits |= found->bit;
  }
  return bits;
}

}  // namespace nvmx::lhv
