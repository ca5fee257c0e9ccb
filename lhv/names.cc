// SPDX-License-Identifier: Apache-2.0
#include "lhv/names.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/vmx/controls.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "core/x86/mtrr.h"

namespace nvmx::lhv {
namespace {

constexpr char kHighSuffix[] = "_HIGH";
constexpr unsigned kMachineCheckBanks = 32;  // IA32_MC31_MISC is the last below IA32_VMX_BASIC

std::string Hex(uint64_t value) { return absl::StrCat("0x", absl::Hex(value)); }

// kGuestIa32SCet becomes GUEST_IA32_S_CET.
std::string ScreamingSnake(const std::string& enumerator) {
  std::string name;
  for (const char letter : enumerator.substr(1)) {
    if (std::isupper(static_cast<unsigned char>(letter)) && !name.empty()) name += '_';
    name += static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  }
  return name;
}

// Names and numbers, both ways, in the order of the table they come from.
class NameTable {
 public:
  void Add(const std::string& name, uint32_t number) {
    numbers_.emplace(name, number);
    names_.emplace(number, name);
    in_order_.push_back(name);
  }
  std::optional<uint32_t> NumberOf(const std::string& name) const {
    const auto found = numbers_.find(name);
    if (found == numbers_.end()) return std::nullopt;
    return found->second;
  }
  std::optional<std::string> NameOf(uint32_t number) const {
    const auto found = names_.find(number);
    if (found == names_.end()) return std::nullopt;
    return found->second;
  }
  const std::vector<std::string>& in_order() const { return in_order_; }

 private:
  std::map<std::string, uint32_t> numbers_;
  std::map<uint32_t, std::string> names_;
  std::vector<std::string> in_order_;
};

const NameTable& Fields() {
  static const NameTable& table = *[] {
    auto* fields = new NameTable;
#define NVMX_VMCS_FIELD(field, encoding, name, existence, policy) \
  fields->Add(ScreamingSnake(#field), encoding);
#include "core/vmx/vmcs_fields.def"
#undef NVMX_VMCS_FIELD
    return fields;
  }();
  return table;
}

void AddMachineCheckBank(NameTable& msrs, unsigned bank) {
  const std::string prefix = absl::StrCat("IA32_MC", bank, "_");
  msrs.Add(prefix + "CTL", Index(MciCtl(bank)));
  msrs.Add(prefix + "STATUS", Index(MciStatus(bank)));
  msrs.Add(prefix + "ADDR", Index(MciAddr(bank)));
  msrs.Add(prefix + "MISC", Index(MciMisc(bank)));
}

const NameTable& Msrs() {
  static const NameTable& table = *[] {
    auto* msrs = new NameTable;
#define NVMX_MSR(name, index) msrs->Add(#name, index);
#include "core/x86/msrs.def"
#undef NVMX_MSR
    // The first of each bank is in the table already.
    for (unsigned n = 1; n < kVariableMtrrCount; ++n) {
      msrs->Add(absl::StrCat("IA32_MTRR_PHYSBASE", n), Index(MtrrPhysBase(n)));
      msrs->Add(absl::StrCat("IA32_MTRR_PHYSMASK", n), Index(MtrrPhysMask(n)));
    }
    for (unsigned bank = 1; bank < kMachineCheckBanks; ++bank) AddMachineCheckBank(*msrs, bank);
    return msrs;
  }();
  return table;
}

struct ControlBit {
  VmcsField field;
  const char* enumerator;
  uint64_t bit;
};

#define PIN(bit) \
  { VmcsField::kPinBasedControls, #bit, PinBased::bit }
#define PRIMARY(bit) \
  { VmcsField::kPrimaryProcessorBasedControls, #bit, PrimaryProcessorBased::bit }
#define SECONDARY(bit) \
  { VmcsField::kSecondaryProcessorBasedControls, #bit, Secondary::bit }
#define TERTIARY(bit) \
  { VmcsField::kTertiaryProcessorBasedControls, #bit, Tertiary::bit }
#define EXIT(bit) \
  { VmcsField::kVmExitControls, #bit, VmExit::bit }
#define SECONDARY_EXIT(bit) \
  { VmcsField::kSecondaryVmExitControls, #bit, SecondaryVmExit::bit }
#define ENTRY(bit) \
  { VmcsField::kVmEntryControls, #bit, VmEntry::bit }
constexpr ControlBit kControlBits[] = {
    PIN(kExternalInterruptExiting),
    PIN(kNmiExiting),
    PIN(kVirtualNmis),
    PIN(kActivateVmxPreemptionTimer),
    PIN(kProcessPostedInterrupts),
    PRIMARY(kInterruptWindowExiting),
    PRIMARY(kUseTscOffsetting),
    PRIMARY(kHltExiting),
    PRIMARY(kInvlpgExiting),
    PRIMARY(kMwaitExiting),
    PRIMARY(kRdpmcExiting),
    PRIMARY(kRdtscExiting),
    PRIMARY(kCr3LoadExiting),
    PRIMARY(kCr3StoreExiting),
    PRIMARY(kActivateTertiaryControls),
    PRIMARY(kCr8LoadExiting),
    PRIMARY(kCr8StoreExiting),
    PRIMARY(kUseTprShadow),
    PRIMARY(kNmiWindowExiting),
    PRIMARY(kMovDrExiting),
    PRIMARY(kUnconditionalIoExiting),
    PRIMARY(kUseIoBitmaps),
    PRIMARY(kMonitorTrapFlag),
    PRIMARY(kUseMsrBitmaps),
    PRIMARY(kMonitorExiting),
    PRIMARY(kPauseExiting),
    PRIMARY(kActivateSecondaryControls),
    SECONDARY(kVirtualizeApicAccesses),
    SECONDARY(kEnableEpt),
    SECONDARY(kDescriptorTableExiting),
    SECONDARY(kEnableRdtscp),
    SECONDARY(kVirtualizeX2ApicMode),
    SECONDARY(kEnableVpid),
    SECONDARY(kWbinvdExiting),
    SECONDARY(kUnrestrictedGuest),
    SECONDARY(kApicRegisterVirtualization),
    SECONDARY(kVirtualInterruptDelivery),
    SECONDARY(kPauseLoopExiting),
    SECONDARY(kRdrandExiting),
    SECONDARY(kEnableInvpcid),
    SECONDARY(kEnableVmFunctions),
    SECONDARY(kVmcsShadowing),
    SECONDARY(kEnableEnclsExiting),
    SECONDARY(kRdseedExiting),
    SECONDARY(kEnablePml),
    SECONDARY(kEptViolationVe),
    SECONDARY(kConcealVmxFromPt),
    SECONDARY(kEnableXsavesXrstors),
    SECONDARY(kPasidTranslation),
    SECONDARY(kModeBasedExecuteControlForEpt),
    SECONDARY(kSubPageWritePermissionsForEpt),
    SECONDARY(kIntelPtUsesGuestPhysicalAddresses),
    SECONDARY(kUseTscScaling),
    SECONDARY(kEnableUserWaitAndPause),
    SECONDARY(kEnablePconfig),
    SECONDARY(kEnableEnclvExiting),
    SECONDARY(kVmmBusLockDetection),
    SECONDARY(kInstructionTimeout),
    TERTIARY(kLoadiwkeyExiting),
    TERTIARY(kEnableHlat),
    TERTIARY(kEptPagingWriteControl),
    TERTIARY(kGuestPagingVerification),
    TERTIARY(kIpiVirtualization),
    TERTIARY(kVirtualizeIa32SpecCtrl),
    EXIT(kSaveDebugControls),
    EXIT(kHostAddressSpaceSize),
    EXIT(kLoadIa32PerfGlobalCtrl),
    EXIT(kAcknowledgeInterruptOnExit),
    EXIT(kSaveIa32Pat),
    EXIT(kLoadIa32Pat),
    EXIT(kSaveIa32Efer),
    EXIT(kLoadIa32Efer),
    EXIT(kSaveVmxPreemptionTimerValue),
    EXIT(kClearIa32Bndcfgs),
    EXIT(kConcealVmxFromPt),
    EXIT(kClearIa32RtitCtl),
    EXIT(kClearIa32LbrCtl),
    EXIT(kClearUinv),
    EXIT(kLoadCetState),
    EXIT(kLoadPkrs),
    EXIT(kSaveIa32PerfGlobalCtrl),
    EXIT(kActivateSecondaryControls),
    SECONDARY_EXIT(kPrematurelyBusyShadowStack),
    ENTRY(kLoadDebugControls),
    ENTRY(kIa32eModeGuest),
    ENTRY(kEntryToSmm),
    ENTRY(kDeactivateDualMonitorTreatment),
    ENTRY(kLoadIa32PerfGlobalCtrl),
    ENTRY(kLoadIa32Pat),
    ENTRY(kLoadIa32Efer),
    ENTRY(kLoadIa32Bndcfgs),
    ENTRY(kConcealVmxFromPt),
    ENTRY(kLoadIa32RtitCtl),
    ENTRY(kLoadUinv),
    ENTRY(kLoadCetState),
    ENTRY(kLoadGuestIa32LbrCtl),
    ENTRY(kLoadPkrs),
};
#undef PIN
#undef PRIMARY
#undef SECONDARY
#undef TERTIARY
#undef EXIT
#undef SECONDARY_EXIT
#undef ENTRY

bool SameLetter(char a, char b) {
  return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
}

// The Levenshtein distance: insertions, deletions and replacements of one character, whatever its
// case.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (SameLetter(a[i - 1], b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<uint32_t> FieldByName(const std::string& name) {
  if (const auto encoding = Fields().NumberOf(name)) return encoding;
  if (!absl::EndsWith(name, kHighSuffix)) return std::nullopt;
  const auto full = Fields().NumberOf(name.substr(0, name.size() - sizeof(kHighSuffix) + 1));
  if (!full || Width(*full) != FieldWidth::k64) return std::nullopt;
  return *full | FieldEncoding::kHigh;
}

std::string FieldText(uint32_t encoding) {
  const std::optional<VmcsField> field = FieldOf(encoding);
  if (!field) return Hex(encoding);
  return absl::StrCat(*Fields().NameOf(Encoding(*field)), IsHigh(encoding) ? kHighSuffix : "");
}

const std::vector<std::string>& FieldNames() { return Fields().in_order(); }

std::optional<uint32_t> MsrByName(const std::string& name) { return Msrs().NumberOf(name); }

std::string MsrText(uint32_t index) {
  const auto name = Msrs().NameOf(index);
  return name ? *name : Hex(index);
}

const std::vector<std::string>& MsrNames() { return Msrs().in_order(); }

bool IsControlField(uint32_t encoding) {
  return std::any_of(std::begin(kControlBits), std::end(kControlBits),
                     [&](const ControlBit& row) { return Encoding(row.field) == encoding; });
}

std::vector<std::string> ControlFieldNames() {
  std::vector<std::string> names;
  for (const ControlBit& row : kControlBits) {
    const std::string name = FieldText(Encoding(row.field));
    if (names.empty() || names.back() != name) names.push_back(name);
  }
  return names;
}

std::optional<uint64_t> ControlBitByName(uint32_t encoding, const std::string& name) {
  for (const ControlBit& row : kControlBits) {
    if (Encoding(row.field) == encoding && ScreamingSnake(row.enumerator) == name) return row.bit;
  }
  return std::nullopt;
}

std::vector<std::string> ControlBitNames(uint32_t encoding) {
  std::vector<std::string> names;
  for (const ControlBit& row : kControlBits) {
    if (Encoding(row.field) == encoding) names.push_back(ScreamingSnake(row.enumerator));
  }
  return names;
}

std::string ControlBitsText(uint32_t encoding, uint64_t bits) {
  std::vector<std::string> names;
  for (const ControlBit& row : kControlBits) {
    if (Encoding(row.field) != encoding || (bits & row.bit) == 0) continue;
    names.push_back(ScreamingSnake(row.enumerator));
    bits &= ~row.bit;
  }
  if (bits != 0) names.push_back(Hex(bits));
  return names.empty() ? "0" : absl::StrJoin(names, " | ");
}

std::string NearestName(const std::string& name, const std::vector<std::string>& candidates) {
  // A third of the letters wrong is a typing error; more is another word.
  size_t nearest_distance = std::max<size_t>(name.size() / 3, 1) + 1;
  std::string nearest;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(name, candidate);
    if (distance < nearest_distance) {
      nearest_distance = distance;
      nearest = candidate;
    }
  }
  if (!nearest.empty()) return nearest;
  constexpr size_t kShortestBeginning = 3;
  for (const std::string& candidate : candidates) {
    if (name.size() >= kShortestBeginning && absl::StartsWithIgnoreCase(candidate, name)) {
      return candidate;
    }
  }
  return "";
}

}  // namespace nvmx::lhv
