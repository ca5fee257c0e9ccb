// SPDX-License-Identifier: Apache-2.0
//
// scripts/preflight, which runs where nothing can be built, asks for what L0 asks for.
#include <array>
#include <cstdio>
#include <iomanip>
#include <sstream>
#include <string>

#include "backends/vmx-hw/l0/requirements.h"
#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

std::string OutputOf(const char* command) {
  std::string output;
  FILE* const pipe = popen(command, "r");
  if (pipe == nullptr) return output;
  std::array<char, 4096> buffer;
  while (const size_t bytes = fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), bytes);
  }
  EXPECT_EQ(pclose(pipe), 0) << command;
  return output;
}

TEST(Preflight, HasTheRequirementsOfL0) {
  std::ostringstream expected;
  expected << std::hex << std::setfill('0');
  for (const Requirement& needed : Requirements()) {
    expected << std::setw(3) << Index(needed.msr) << ' ' << std::setw(16) << needed.bits << ' '
             << needed.name << '\n';
  }
  EXPECT_EQ(OutputOf("scripts/preflight --requirements"), expected.str());
}

}  // namespace
}  // namespace nvmx::metal
