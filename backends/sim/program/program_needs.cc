// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/program_needs.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "backends/sim/program/laid_out_memory.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/x86/control_registers.h"
#include "lhv/bit_names.h"
#include "lhv/layout.h"
#include "lhv/names.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

// The 1-settings that a processor allows of a field of controls.
uint64_t AllowedControls(const Capabilities& c, uint32_t encoding) {
  constexpr unsigned kAllowed1 = 32;
  switch (FieldOf(encoding).value_or(VmcsField::kPinBasedControls)) {
    case VmcsField::kPrimaryProcessorBasedControls:
      return c.PrimaryProcessorBasedControls() >> kAllowed1;
    case VmcsField::kSecondaryProcessorBasedControls:
      return c.procbased_ctls2 >> kAllowed1;
    case VmcsField::kVmExitControls:
      return c.VmExitControls() >> kAllowed1;
    case VmcsField::kVmEntryControls:
      return c.VmEntryControls() >> kAllowed1;
    default:
      return c.PinBasedControls() >> kAllowed1;
  }
}

// Whether the EPT structure, or one below it, maps a page of 1 GByte. Levels below that of such
// pages, from an EPTP that no VM entry accepts, have none.
bool HasGBytePages(const LaidOutMemory& memory, uint64_t table, unsigned level) {
  if (level < kEptLevelPdpte) return false;
  for (unsigned n = 0; n < kEptEntries; ++n) {
    const uint64_t entry = memory.Word(table + n * sizeof(uint64_t));
    if ((entry & EptEntry::kPermissions) == 0) continue;
    if (level == kEptLevelPdpte) {
      if ((entry & EptEntry::kLarge) != 0) return true;
    } else if (HasGBytePages(memory, entry & EptEntry::kAddress, level - 1)) {
      return true;
    }
  }
  return false;
}

// Collects what is missing.
class Search {
 public:
  Search(const Capabilities& all, const Capabilities& offered) : all_(all), offered_(offered) {}

  void Look(const lhv::CpuProgram& cpu, uint32_t index) {
    const LaidOutMemory memory(cpu, index);
    for (const std::vector<Operation>* code : {&cpu.l1, &cpu.l2}) {
      for (const Operation& operation : *code) Look(operation, memory, index);
    }
  }
  std::vector<std::string> Found() && { return std::move(found_); }

 private:
  void Add(const std::string& what) {
    if (std::find(found_.begin(), found_.end(), what) == found_.end()) found_.push_back(what);
  }

  void Look(const Operation& o, const LaidOutMemory& memory, uint32_t index) {
    switch (o.kind) {
      case OperationKind::kVmwriteControl:
        LookAtControls(o);
        return;
      case OperationKind::kVmread:
      case OperationKind::kVmwrite:
        LookAtField(o.selector);
        if (o.kind == OperationKind::kVmwrite) LookAtValue(o, memory, index);
        return;
      case OperationKind::kMovToCr:
        if (o.selector == 4) LookAtCr4(o.value);
        return;
      case OperationKind::kInvept:
        LookAtEptVpid(EptVpidCap::kInvept, "invept");
        return;
      case OperationKind::kInvvpid:
        LookAtInvvpid(o.selector);
        return;
      default:
        return;
    }
  }

  void LookAtControls(const Operation& o) {
    const uint64_t missing =
        o.value & AllowedControls(all_, o.selector) & ~AllowedControls(offered_, o.selector);
    if (missing != 0) Add(lhv::ControlBitsText(o.selector, missing));
  }

  void LookAtField(uint32_t encoding) {
    const std::optional<VmcsField> field = FieldOf(encoding);
    if (field && Exists(*field, all_) && !Exists(*field, offered_)) Add(lhv::FieldText(encoding));
  }

  void LookAtValue(const Operation& o, const LaidOutMemory& memory, uint32_t index) {
    switch (FieldOf(o.selector).value_or(VmcsField::kGuestRip)) {
      case VmcsField::kEptPointer: {
        const bool in_window = (o.flags & lhv::kValueIsWindowOffset) != 0;
        const uint64_t eptp = o.value + (in_window ? lhv::WindowOf(index) : 0);
        if ((eptp & Eptp::kAccessedAndDirty) != 0) {
          LookAtEptVpid(EptVpidCap::kAccessedAndDirtyFlags, "accessed and dirty flags of EPT");
        }
        if (Eptp::WalkLength(eptp) == 5) {
          LookAtEptVpid(EptVpidCap::kPageWalkLength5, "5-level EPT");
        }
        if (Lacks(EptVpidCap::k1GByteMapping) &&
            HasGBytePages(memory, eptp & Eptp::kAddress,
                          std::min(kMostEptLevels, Eptp::WalkLength(eptp)))) {
          Add("1-GByte pages of EPT");
        }
        return;
      }
      case VmcsField::kGuestCr4:
      case VmcsField::kHostCr4:
        LookAtCr4(o.value);
        return;
      default:
        return;
    }
  }

  void LookAtCr4(uint64_t value) {
    const uint64_t missing = value & all_.cr4_fixed1 & ~offered_.cr4_fixed1;
    for (unsigned bit = 0; bit < 64; ++bit) {
      if ((missing >> bit & 1) != 0) Add(absl::StrCat("bit ", bit, " of CR4"));
    }
  }

  bool Lacks(uint64_t capability) const {
    return (all_.ept_vpid_cap & ~offered_.ept_vpid_cap & capability) != 0;
  }
  void LookAtEptVpid(uint64_t capability, const char* name) {
    if (Lacks(capability)) Add(name);
  }

  void LookAtInvvpid(uint32_t type) {
    if (type > 3) return;
    LookAtEptVpid(EptVpidCap::kInvvpid, "invvpid");
    LookAtEptVpid(EptVpidCap::kInvvpidIndividualAddress << type, "this type of invvpid");
  }

  const Capabilities& all_;
  const Capabilities& offered_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> MissingCapabilities(const lhv::GuestProgram& program,
                                             const Capabilities& all, const Capabilities& offered) {
  Search search(all, offered);
  for (uint32_t index = 0; index < program.cpus.size(); ++index) {
    search.Look(program.cpus[index], index);
  }
  return std::move(search).Found();
}

std::vector<std::string> MissingForL0(const Capabilities& hardware) {
  std::vector<std::string> missing;
  const auto need = [&](bool has, const char* what) {
    if (!has) missing.push_back(what);
  };
  const auto has_ept = [&](uint64_t capability) {
    return (hardware.ept_vpid_cap & capability) == capability;
  };
  need(hardware.SupportsPinBased(PinBased::kNmiExiting), "NMI_EXITING");
  need(hardware.SupportsPinBased(PinBased::kVirtualNmis), "VIRTUAL_NMIS");
  need(hardware.SupportsPrimary(PrimaryProcessorBased::kNmiWindowExiting), "NMI_WINDOW_EXITING");
  need(hardware.SupportsPrimary(PrimaryProcessorBased::kUseMsrBitmaps), "USE_MSR_BITMAPS");
  need(hardware.SupportsSecondary(Secondary::kEnableEpt), "ENABLE_EPT");
  need(hardware.SupportsSecondary(Secondary::kUnrestrictedGuest), "UNRESTRICTED_GUEST");
  need(has_ept(EptVpidCap::kPageWalkLength4 | EptVpidCap::kWriteBack), "4-level EPT of type WB");
  need(has_ept(EptVpidCap::k2MByteMapping), "2-MByte pages of EPT");
  need(hardware.SupportsVmExit(VmExit::kHostAddressSpaceSize), "HOST_ADDRESS_SPACE_SIZE");
  need(hardware.SupportsVmExit(VmExit::kSaveIa32Pat | VmExit::kLoadIa32Pat) &&
           hardware.SupportsVmEntry(VmEntry::kLoadIa32Pat),
       "controls that switch IA32_PAT");
  need(hardware.SupportsVmExit(VmExit::kSaveIa32Efer | VmExit::kLoadIa32Efer) &&
           hardware.SupportsVmEntry(VmEntry::kLoadIa32Efer),
       "controls that switch IA32_EFER");
  return missing;
}

}  // namespace nvmx::sim
