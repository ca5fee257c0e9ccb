// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROFILES_PROFILE_H_
#define NVMX_BACKENDS_SIM_PROFILES_PROFILE_H_

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "core/vmx/capabilities.h"

namespace nvmx::sim {

// A profile says which VMX a processor has: the values that RDMSR of the VMX capability MSRs gives
// on it, and the widths of its addresses. The simulated processor takes its capabilities from one.
struct Profile {
  std::string processor;  // what a person calls it
  Capabilities capabilities;
};

// Reads the YAML text of a profile; `file_name` is for errors. InvalidArgument, with the place and
// the rule, for a text that describes no processor: an unknown or missing MSR, a control that must
// be 1 and must not, TRUE MSRs without IA32_VMX_BASIC[55] or the reverse, widths out of range.
// SDM Vol. 3D, Appendix A "VMX Capability Reporting Facility".
absl::StatusOr<Profile> ReadProfile(const std::string& file_name, const std::string& text);

// The profiles of this directory, built into the program: the MSRs of real processors.
struct ProfileFile {
  const char* name;
  const char* path;
  const char* text;
};
std::span<const ProfileFile> ProfileFiles();

// The profile with that name, or in the file with that path. NotFound, with the names that there
// are, if it is neither.
absl::StatusOr<Profile> FindProfile(const std::string& name_or_path);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROFILES_PROFILE_H_
