// SPDX-License-Identifier: Apache-2.0
//
// What a program must observe. Each line is the text of one observation (observation_text.h), with
// or without the number of the operation: "L1 #7: NMI before operation 7" or
// "L1: VM exit: EXIT_REASON = 18 (VMCALL)". A star stands for any text.
#ifndef NVMX_LHV_EXPECTED_OBSERVATIONS_H_
#define NVMX_LHV_EXPECTED_OBSERVATIONS_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lhv/assembled.h"
#include "lhv/observation.h"

namespace nvmx::lhv {

// True if the line describes an observation: it begins with the level, and perhaps the operation.
bool IsExpectedObservation(const std::string& line);

// True if the observation is what the line describes.
bool Matches(const std::string& line, const Observation& observation);

struct ExpectationFailure {
  size_t position = 0;  // in the log, of the first observation that is not the expected one
  int line = 0;         // of the source; 0 if the log goes on after everything that was expected
  std::string text;     // what was expected and what was observed there
};

// Nothing if the log is what is expected, in full and in order.
std::optional<ExpectationFailure> CompareWithExpected(std::span<const ExpectedObservation> expected,
                                                      std::span<const Observation> log);

// The log as the text of an `expect` section, one element a line with this indentation.
std::string ExpectSection(std::span<const Observation> log, size_t indentation);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_EXPECTED_OBSERVATIONS_H_
