// SPDX-License-Identifier: Apache-2.0
//
// What the image writes on the serial line, line by line. Numbers are hexadecimal.
//
//   @image cpus N                                       once, before anything else
//   @program INDEX NAME                                 a program begins
//   @log CPU KIND LEVEL OPERATION SELECTOR VALUE EXTRA  an observation
//   @end CPU REASON DETAIL                              the CPU has come to the end
//   @done INDEX                                         the program is over
//   @finished COUNT                                     so are all
//
// Everything else is for people.
#ifndef NVMX_LHV_IMAGE_LOG_LINE_H_
#define NVMX_LHV_IMAGE_LOG_LINE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "lhv/observation.h"

namespace nvmx::lhv {

// Why a CPU's run of a program is over.
enum class ImageEnd : uint8_t {
  kComplete,      // L1 has no more operations
  kCompleteInL2,  // L2 has none
  kLost,          // at an address without code; detail: RIP
  kStepLimit,     // it would go on
  kRefused,       // detail: an instruction of this kind cannot be encoded
  kFault,         // the interpreter could not run there; detail: vector, and CR2 above it
  kInterrupted,   // L2's interpreter was left by a VM exit; detail: HOST_RIP
  kResting,       // nothing moves it
  kBadProgram,    // the bytes are not a program for these CPUs
  kOtherL1,       // its L1 is for the other image; detail: how many bits that has
};
inline constexpr size_t kImageEndCount = static_cast<size_t>(ImageEnd::kOtherL1) + 1;
const char* Name(ImageEnd end);

inline constexpr size_t kMostLineBytes = 160;

// The line of an observation, with its newline; gives its length. `line` has kMostLineBytes.
size_t WriteLogLine(uint32_t cpu, const Observation& observation, std::span<char> line);
size_t WriteEndLine(uint32_t cpu, ImageEnd end, uint64_t detail, std::span<char> line);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_LOG_LINE_H_
