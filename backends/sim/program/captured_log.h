// SPDX-License-Identifier: Apache-2.0
//
// What a real machine saw (lhv/image writes it), against the reference.
#ifndef NVMX_BACKENDS_SIM_PROGRAM_CAPTURED_LOG_H_
#define NVMX_BACKENDS_SIM_PROGRAM_CAPTURED_LOG_H_

#include <cstdint>
#include <string>

#include "backends/sim/program/comparison.h"
#include "lhv/assembled.h"
#include "lhv/image/serial_log.h"

namespace nvmx::sim {

enum class Calibration : uint8_t {
  kSame,
  kWhereDefined,   // not the same, but only in what is undefined or each machine's own
  kAsExpected,     // not the same, but all that the program says must be observed, and no more
  kDeviation,      // a table of the machine's known deviations has the program or the difference
  kNotComparable,  // the program asks for what two machines cannot do alike
  kDifferent,
};
const char* Name(Calibration calibration);

// The machine that wrote the log.
enum class CapturedMachine : uint8_t {
  kOther,            // of which no deviations are known
  kBochsNative,      // Bochs, whose processor the program's L1 has for itself
  kBochsNativeI386,  // the same with an L1 outside IA-32e mode
  kBochsNested,      // Bochs, where it runs under nvmx
  kBochsNestedI386,  // the same under nvmx for i386
};

struct CapturedComparison {
  Calibration calibration = Calibration::kSame;
  CapturedMachine machine = CapturedMachine::kBochsNative;
  std::string reason;  // of kWhereDefined, kDeviation and kNotComparable
  // The reference is `keep`, the machine `nested`.
  Comparison comparison;
};

// Why the machine is known to differ on the program called `name`; empty if it is not known to.
std::string KnownDeviation(CapturedMachine machine, const std::string& name);

// Compares with the logs of the reference, which has run the program with each policy of its TLB:
// keep and evict in result.comparison. A log that equals one of them is the same.
void CompareCaptured(const std::string& name, const lhv::GuestProgram& program,
                     const lhv::LoggedProgram& captured, CapturedComparison& result);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_CAPTURED_LOG_H_
