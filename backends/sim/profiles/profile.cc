// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/profiles/profile.h"

#include <fstream>
#include <iterator>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lhv/source_reader.h"
#include "yaml-cpp/yaml.h"

namespace nvmx::sim {
namespace {

using lhv::SourceReader;

// When a processor has the MSR.
enum class Presence { kAlways, kWithTrueControls, kWithSecondaryControls, kOptional };

struct CapabilityMsr {
  const char* name;
  uint64_t Capabilities::*member;
  Presence presence;
  // Bits 31:0 must be 1, bits 63:32 may be 1.
  bool is_control = false;
};
constexpr CapabilityMsr kMsrs[] = {
    {"IA32_VMX_BASIC", &Capabilities::basic, Presence::kAlways},
    {"IA32_VMX_PINBASED_CTLS", &Capabilities::pinbased_ctls, Presence::kAlways, true},
    {"IA32_VMX_PROCBASED_CTLS", &Capabilities::procbased_ctls, Presence::kAlways, true},
    {"IA32_VMX_EXIT_CTLS", &Capabilities::exit_ctls, Presence::kAlways, true},
    {"IA32_VMX_ENTRY_CTLS", &Capabilities::entry_ctls, Presence::kAlways, true},
    {"IA32_VMX_MISC", &Capabilities::misc, Presence::kAlways},
    {"IA32_VMX_CR0_FIXED0", &Capabilities::cr0_fixed0, Presence::kAlways},
    {"IA32_VMX_CR0_FIXED1", &Capabilities::cr0_fixed1, Presence::kAlways},
    {"IA32_VMX_CR4_FIXED0", &Capabilities::cr4_fixed0, Presence::kAlways},
    {"IA32_VMX_CR4_FIXED1", &Capabilities::cr4_fixed1, Presence::kAlways},
    {"IA32_VMX_VMCS_ENUM", &Capabilities::vmcs_enum, Presence::kAlways},
    {"IA32_VMX_PROCBASED_CTLS2", &Capabilities::procbased_ctls2, Presence::kWithSecondaryControls,
     true},
    {"IA32_VMX_EPT_VPID_CAP", &Capabilities::ept_vpid_cap, Presence::kOptional},
    {"IA32_VMX_TRUE_PINBASED_CTLS", &Capabilities::true_pinbased_ctls, Presence::kWithTrueControls,
     true},
    {"IA32_VMX_TRUE_PROCBASED_CTLS", &Capabilities::true_procbased_ctls,
     Presence::kWithTrueControls, true},
    {"IA32_VMX_TRUE_EXIT_CTLS", &Capabilities::true_exit_ctls, Presence::kWithTrueControls, true},
    {"IA32_VMX_TRUE_ENTRY_CTLS", &Capabilities::true_entry_ctls, Presence::kWithTrueControls, true},
    {"IA32_VMX_VMFUNC", &Capabilities::vmfunc, Presence::kOptional},
    {"IA32_VMX_PROCBASED_CTLS3", &Capabilities::procbased_ctls3, Presence::kOptional},
    {"IA32_VMX_EXIT_CTLS2", &Capabilities::exit_ctls2, Presence::kOptional},
};

std::vector<std::string> Keys() {
  std::vector<std::string> keys = {"processor", "physical_address_width", "linear_address_width"};
  for (const CapabilityMsr& msr : kMsrs) keys.push_back(msr.name);
  return keys;
}

// Whether a processor with these capabilities must have the MSR; nothing if it may.
std::optional<bool> MustHave(const CapabilityMsr& msr, const Capabilities& capabilities) {
  switch (msr.presence) {
    case Presence::kAlways:
      return true;
    case Presence::kWithTrueControls:
      return capabilities.HasTrueControls();
    case Presence::kWithSecondaryControls:
      return Supports1Setting(capabilities.procbased_ctls,
                              PrimaryProcessorBased::kActivateSecondaryControls);
    case Presence::kOptional:
      break;
  }
  return std::nullopt;
}

void CheckMsr(SourceReader& reader, const YAML::Node& map, const CapabilityMsr& msr,
              const Capabilities& capabilities) {
  const std::optional<bool> must_have = MustHave(msr, capabilities);
  const bool has = lhv::Has(map, msr.name);
  if (must_have && *must_have != has) {
    reader.Fail(map, absl::StrCat(msr.name, has ? " is there" : " is missing"),
                has ? "expected none: the other MSRs say that the processor lacks it"
                    : "expected its value: the other MSRs say that the processor has it");
    return;
  }
  if (!has || !msr.is_control) return;
  const uint64_t value = capabilities.*msr.member;
  const auto must_be_1 = static_cast<uint32_t>(value);
  const auto may_be_1 = static_cast<uint32_t>(value >> 32);
  if ((must_be_1 & ~may_be_1) != 0) {
    reader.Fail(map[msr.name],
                absl::StrCat(msr.name, " has controls 0x", absl::Hex(must_be_1 & ~may_be_1),
                             " that must be 1 and must not"),
                "expected every bit of bits 31:0 also in bits 63:32");
  }
}

std::optional<Profile> Read(SourceReader& reader, const YAML::Node& map) {
  if (!reader.CheckMap(map, "a profile", Keys())) return std::nullopt;
  Profile profile;
  Capabilities& c = profile.capabilities;
  const auto processor = reader.Required(map, "a profile", "processor");
  if (!processor) return std::nullopt;
  profile.processor = reader.Word(*processor, "processor").value_or("");
  const auto physical = reader.Required(map, "a profile", "physical_address_width");
  if (!physical) return std::nullopt;
  c.physical_address_width = reader.Number(*physical, "physical_address_width", 52, 32).value_or(0);
  const auto linear = reader.Required(map, "a profile", "linear_address_width");
  if (!linear) return std::nullopt;
  c.linear_address_width = reader.Number(*linear, "linear_address_width", 57, 48).value_or(0);
  if (c.linear_address_width != 48 && c.linear_address_width != 57 && !reader.failed()) {
    reader.Fail(*linear, "linear_address_width is no width of a processor", "expected 48 or 57");
  }
  for (const CapabilityMsr& msr : kMsrs) {
    if (lhv::Has(map, msr.name)) {
      c.*msr.member = reader.Number(map[msr.name], msr.name).value_or(0);
    }
  }
  for (const CapabilityMsr& msr : kMsrs) {
    if (!reader.failed()) CheckMsr(reader, map, msr, c);
  }
  return profile;
}

}  // namespace

absl::StatusOr<Profile> ReadProfile(const std::string& file_name, const std::string& text) {
  SourceReader reader(file_name);
  std::optional<Profile> profile;
  try {
    profile = Read(reader, YAML::Load(text));
  } catch (const YAML::Exception& error) {
    reader.Fail(error.mark, absl::StrCat("this is not YAML: ", error.msg), "expected YAML 1.2");
  }
  if (reader.failed()) return reader.status();
  return *std::move(profile);
}

absl::StatusOr<Profile> FindProfile(const std::string& name_or_path) {
  std::vector<std::string> names;
  for (const ProfileFile& file : ProfileFiles()) {
    if (name_or_path == file.name) return ReadProfile(file.path, file.text);
    names.push_back(file.name);
  }
  std::ifstream file(name_or_path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat(name_or_path, ": no processor has this name, and no file can be read there; ",
                     "expected a file or one of ", absl::StrJoin(names, ", ")));
  }
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return ReadProfile(name_or_path, text);
}

}  // namespace nvmx::sim
