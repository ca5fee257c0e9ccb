// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/profiles/profile.h"

#include "absl/strings/str_replace.h"
#include "core/vmx/controls.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

using testing::HasSubstr;

std::string Text(const std::string& name) {
  for (const ProfileFile& file : ProfileFiles()) {
    if (name == file.name) return file.text;
  }
  ADD_FAILURE() << name;
  return "";
}

// The error that the profile of a Skylake gives with `from` replaced by `to`.
std::string ErrorWith(const std::string& from, const std::string& to) {
  const std::string text = Text("skylake-i7-6700k");
  EXPECT_THAT(text, HasSubstr(from));
  const absl::StatusOr<Profile> profile =
      ReadProfile("my.yaml", absl::StrReplaceAll(text, {{from, to}}));
  EXPECT_FALSE(profile.ok());
  return profile.ok() ? "" : std::string(profile.status().message());
}

TEST(ProfileTest, EveryFileDescribesAProcessor) {
  EXPECT_GE(ProfileFiles().size(), 4u);
  for (const ProfileFile& file : ProfileFiles()) {
    const absl::StatusOr<Profile> profile = ReadProfile(file.path, file.text);
    ASSERT_TRUE(profile.ok()) << profile.status();
    EXPECT_NE(profile->processor, "");
  }
}

TEST(ProfileTest, ValuesAreThoseOfTheFile) {
  const absl::StatusOr<Profile> skylake = FindProfile("skylake-i7-6700k");
  ASSERT_TRUE(skylake.ok()) << skylake.status();
  EXPECT_EQ(skylake->capabilities.basic, 0x00da040000000004u);
  EXPECT_EQ(skylake->capabilities.physical_address_width, 39u);
  EXPECT_TRUE(skylake->capabilities.SupportsSecondary(Secondary::kVmcsShadowing));
  const absl::StatusOr<Profile> ivy = FindProfile("ivy-bridge-i5-3570");
  ASSERT_TRUE(ivy.ok()) << ivy.status();
  EXPECT_FALSE(ivy->capabilities.SupportsSecondary(Secondary::kVmcsShadowing));
  EXPECT_EQ(ivy->capabilities.vmfunc, 0u);
}

TEST(ProfileTest, AnUnknownKeyIsNamedWithItsPlace) {
  EXPECT_THAT(ErrorWith("IA32_VMX_MISC:", "IA32_VMX_MISK:"), HasSubstr("my.yaml:9:"));
}

TEST(ProfileTest, AMissingMsrIsNamed) {
  EXPECT_THAT(ErrorWith("IA32_VMX_VMCS_ENUM: 0x2e\n", ""),
              HasSubstr("IA32_VMX_VMCS_ENUM is missing"));
}

TEST(ProfileTest, AControlCannotBeBothForcedAndForbidden) {
  EXPECT_THAT(ErrorWith("IA32_VMX_PINBASED_CTLS: 0x0000007f00000016\nIA32_VMX_PROC",
                        "IA32_VMX_PINBASED_CTLS: 0x0000007d00000016\nIA32_VMX_PROC"),
              HasSubstr("IA32_VMX_PINBASED_CTLS has controls 0x2 that must be 1 and must not"));
}

TEST(ProfileTest, TrueMsrsGoWithBit55OfBasic) {
  EXPECT_THAT(ErrorWith("0x00da040000000004", "0x005a040000000004"),
              HasSubstr("IA32_VMX_TRUE_PINBASED_CTLS is there"));
}

TEST(ProfileTest, SecondaryControlsGoWithTheirActivation) {
  EXPECT_THAT(ErrorWith("IA32_VMX_PROCBASED_CTLS2: 0x001ffcff00000000\n", ""),
              HasSubstr("IA32_VMX_PROCBASED_CTLS2 is missing"));
}

TEST(ProfileTest, WidthsAreThoseOfProcessors) {
  EXPECT_THAT(ErrorWith("physical_address_width: 39", "physical_address_width: 53"),
              HasSubstr("my.yaml:2:"));
  EXPECT_THAT(ErrorWith("linear_address_width: 48", "linear_address_width: 50"),
              HasSubstr("expected 48 or 57"));
}

TEST(ProfileTest, ANameThatIsNeitherProfileNorFileListsTheProfiles) {
  const absl::StatusOr<Profile> none = FindProfile("pentium");
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("skylake-i7-6700k"));
}

TEST(ProfileTest, TextThatIsNotYamlIsRefused) { EXPECT_FALSE(ReadProfile("my.yaml", "{").ok()); }

}  // namespace
}  // namespace nvmx::sim
