// SPDX-License-Identifier: Apache-2.0
// Macros: what nearly every L1 begins with, and how it turns a feature on.
#include <array>

#include "absl/strings/str_cat.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/address.h"
#include "lhv/guest_mode.h"
#include "lhv/names.h"
#include "lhv/operation_assembler.h"
#include "lhv/operation_syntax.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kMax32 = 0xFFFF'FFFF;

// The fields that name an MSR list, and its key in use_msr_list.
struct MsrListFields {
  const char* key;
  VmcsField address;
  VmcsField count;
};
constexpr MsrListFields kMsrListFields[] = {
    {"entry_load", VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmEntryMsrLoadCount},
    {"exit_store", VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount},
    {"exit_load", VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount},
};

// The keys of add_controls and remove_controls.
struct ControlGroup {
  const char* key;
  VmcsField field;
};
constexpr ControlGroup kControlGroups[] = {
    {"pin", VmcsField::kPinBasedControls},
    {"primary", VmcsField::kPrimaryProcessorBasedControls},
    {"secondary", VmcsField::kSecondaryProcessorBasedControls},
    {"tertiary", VmcsField::kTertiaryProcessorBasedControls},
    {"exit", VmcsField::kVmExitControls},
    {"entry", VmcsField::kVmEntryControls},
};

// Macros that write one field and turn on one control.
struct FieldMacro {
  const char* name;
  VmcsField field;
  VmcsField control;
  uint64_t bit;
};
constexpr FieldMacro kFieldMacros[] = {
    {"use_vpid", VmcsField::kVirtualProcessorIdentifier,
     VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableVpid},
    {"use_msr_bitmap", VmcsField::kMsrBitmapAddress, VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kUseMsrBitmaps},
    {"use_preemption_timer", VmcsField::kVmxPreemptionTimerValue, VmcsField::kPinBasedControls,
     PinBased::kActivateVmxPreemptionTimer},
    {"use_tsc_offset", VmcsField::kTscOffset, VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kUseTscOffsetting},
    {"use_tsc_scaling", VmcsField::kTscMultiplier, VmcsField::kSecondaryProcessorBasedControls,
     Secondary::kUseTscScaling},
    {"use_apic_access_page", VmcsField::kApicAccessAddress,
     VmcsField::kSecondaryProcessorBasedControls, Secondary::kVirtualizeApicAccesses},
};

}  // namespace

void OperationAssembler::AppendEnterVmx(const Item& item) {
  const auto region = blocks_.Address(item.argument, item.name());
  if (region) AppendAll(item, EnterVmx(*region));
}

void OperationAssembler::AppendBaselineVmcs(const Item& item) {
  const auto region = blocks_.Address(item.argument, item.name());
  if (region) AppendAll(item, BaselineVmcs(*region, blocks_.cpu(), mode_));
}

void OperationAssembler::AppendUseMsrList(const Item& item) {
  const YAML::Node& map = item.argument;
  std::vector<std::string> keys;
  for (const MsrListFields& row : kMsrListFields) keys.push_back(row.key);
  if (!reader_.CheckMap(map, item.name(), keys)) return;
  for (const MsrListFields& row : kMsrListFields) {
    if (!Has(map, row.key)) continue;
    const auto count = blocks_.EntryCount(map[row.key]);
    if (!count) return;
    const auto address = blocks_.Address(map[row.key], row.key);
    if (!address) return;
    Append(item, Vmwrite(row.address, address->value, address->flags));
    Append(item, Vmwrite(row.count, *count));
  }
}

void OperationAssembler::AppendChangeControls(const Item& item) {
  const YAML::Node& map = item.argument;
  std::vector<std::string> keys;
  for (const ControlGroup& group : kControlGroups) keys.push_back(group.key);
  if (!reader_.CheckMap(map, item.name(), keys)) return;
  const bool adds = item.name() == "add_controls";
  for (const ControlGroup& group : kControlGroups) {
    if (!Has(map, group.key)) continue;
    const auto bits = ControlBits(Encoding(group.field), map[group.key]);
    if (!bits) return;
    ChangeControls(item, group.field, adds ? *bits : 0, adds ? 0 : *bits);
  }
}

void OperationAssembler::ChangeControls(const Item& item, VmcsField field, uint64_t add,
                                        uint64_t remove) {
  const uint32_t encoding = Encoding(field);
  const uint64_t wanted = (wanted_controls_[encoding] | add) & ~remove;
  Append(item, {.kind = OperationKind::kVmwriteControl, .selector = encoding, .value = wanted});
  const bool is_secondary = field == VmcsField::kSecondaryProcessorBasedControls;
  const uint32_t primary = Encoding(VmcsField::kPrimaryProcessorBasedControls);
  const uint64_t activate = PrimaryProcessorBased::kActivateSecondaryControls;
  if (!is_secondary || add == 0 || (wanted_controls_[primary] & activate) != 0) return;
  Append(item, {.kind = OperationKind::kVmwriteControl,
                .selector = primary,
                .value = wanted_controls_[primary] | activate});
}

bool OperationAssembler::AppendVmwriteOf(const Item& item, VmcsField field,
                                         const YAML::Node& node) {
  const auto value = blocks_.Value(node, FieldText(Encoding(field)), ValueMask(Width(field)));
  if (!value) return false;
  Append(item, Vmwrite(field, value->value, value->flags));
  return true;
}

void OperationAssembler::AppendUseField(const Item& item) {
  for (const FieldMacro& row : kFieldMacros) {
    if (item.name() != row.name) continue;
    if (AppendVmwriteOf(item, row.field, item.argument)) {
      ChangeControls(item, row.control, row.bit, 0);
    }
  }
}

void OperationAssembler::AppendUseEpt(const Item& item) {
  YAML::Node map = item.argument;
  if (!map.IsMap()) {
    map.reset(YAML::Node());
    map["eptp_of"] = item.argument;
  }
  if (!AppendVmwriteOf(item, VmcsField::kEptPointer, map)) return;
  ChangeControls(item, VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableEpt, 0);
}

void OperationAssembler::AppendUseIoBitmaps(const Item& item) {
  const auto address = blocks_.Address(item.argument, item.name());
  if (!address) return;
  Append(item, Vmwrite(VmcsField::kIoBitmapAAddress, address->value, address->flags));
  Append(item, Vmwrite(VmcsField::kIoBitmapBAddress, address->value + kPageSize, address->flags));
  ChangeControls(item, VmcsField::kPrimaryProcessorBasedControls,
                 PrimaryProcessorBased::kUseIoBitmaps, 0);
}

void OperationAssembler::AppendUseTprShadow(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"page", "threshold"})) return;
  const auto page = reader_.Required(map, item.name(), "page");
  const auto threshold = NumberOr(map, "threshold", 0, kMax32);
  if (!page || !threshold) return;
  if (!AppendVmwriteOf(item, VmcsField::kVirtualApicAddress, *page)) return;
  Append(item, Vmwrite(VmcsField::kTprThreshold, *threshold));
  ChangeControls(item, VmcsField::kPrimaryProcessorBasedControls,
                 PrimaryProcessorBased::kUseTprShadow, 0);
}

void OperationAssembler::AppendUsePml(const Item& item) {
  constexpr uint64_t kLastEntry = 511;
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"log", "index"})) return;
  const auto log = reader_.Required(map, item.name(), "log");
  const auto index = NumberOr(map, "index", kLastEntry, 0xFFFF);
  if (!log || !index) return;
  if (!AppendVmwriteOf(item, VmcsField::kPmlAddress, *log)) return;
  Append(item, Vmwrite(VmcsField::kPmlIndex, *index));
  ChangeControls(item, VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnablePml, 0);
}

void OperationAssembler::AppendUseEptpSwitching(const Item& item) {
  if (!AppendVmwriteOf(item, VmcsField::kEptpListAddress, item.argument)) return;
  Append(item, Vmwrite(VmcsField::kVmFunctionControls, VmFunction::kEptpSwitching));
  ChangeControls(item, VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableVmFunctions,
                 0);
}

void OperationAssembler::AppendUseVmcsShadowing(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"vmread", "vmwrite", "link"})) return;
  constexpr std::array<std::pair<const char*, VmcsField>, 3> kFields = {{
      {"vmread", VmcsField::kVmreadBitmapAddress},
      {"vmwrite", VmcsField::kVmwriteBitmapAddress},
      {"link", VmcsField::kVmcsLinkPointer},
  }};
  for (const auto& [key, field] : kFields) {
    const auto node = reader_.Required(map, item.name(), key);
    if (!node || !AppendVmwriteOf(item, field, *node)) return;
  }
  ChangeControls(item, VmcsField::kSecondaryProcessorBasedControls, Secondary::kVmcsShadowing, 0);
}

void OperationAssembler::AppendInject(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"vector", "type", "error_code", "instruction_length"})) {
    return;
  }
  YAML::Node description;
  description["vector"] = map["vector"];
  description["type"] = map["type"];
  for (const char* key : {"vector", "type"}) {
    if (!reader_.Required(map, item.name(), key)) return;
  }
  description["error_code"] = Has(map, "error_code");
  YAML::Node value;
  value["interruption"] = description;
  if (!AppendVmwriteOf(item, VmcsField::kVmEntryInterruptionInformation, value)) return;
  if (Has(map, "error_code") &&
      !AppendVmwriteOf(item, VmcsField::kVmEntryExceptionErrorCode, map["error_code"])) {
    return;
  }
  if (!Has(map, "instruction_length")) return;
  AppendVmwriteOf(item, VmcsField::kVmEntryInstructionLength, map["instruction_length"]);
}

void OperationAssembler::AppendGuestMode(const Item& item) {
  const YAML::Node& argument = item.argument;
  const bool is_map = argument.IsMap();
  if (is_map && !reader_.CheckMap(argument, item.name(), {"mode", "tables"})) return;
  const auto mode_node =
      is_map ? reader_.Required(argument, item.name(), "mode") : std::optional(argument);
  if (!mode_node) return;
  const auto name = reader_.Word(*mode_node, "mode");
  if (!name) return;
  const GuestMode* const mode = FindGuestMode(*name);
  if (mode == nullptr) {
    reader_.FailUnknown(*mode_node, "mode", *name, GuestModeNames());
    return;
  }
  if (mode->is_paged != (is_map && Has(argument, "tables"))) {
    reader_.Fail(argument,
                 absl::StrCat("mode ", *name, mode->is_paged ? " has no tables" : " has tables"),
                 mode->is_paged ? "expected tables: block" : "expected none");
    return;
  }
  if (mode->is_paged && !AppendVmwriteOf(item, VmcsField::kGuestCr3, argument["tables"])) return;
  for (const Operation& operation : GuestModeState(*mode)) Append(item, operation);
  ChangeControls(item, VmcsField::kVmEntryControls, 0, VmEntry::kIa32eModeGuest);
  if (mode->is_paged) return;
  ChangeControls(item, VmcsField::kSecondaryProcessorBasedControls, Secondary::kUnrestrictedGuest,
                 0);
}

}  // namespace nvmx::lhv
