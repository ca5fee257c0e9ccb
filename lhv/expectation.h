// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_EXPECTATION_H_
#define NVMX_LHV_EXPECTATION_H_

#include <optional>
#include <vector>

#include "lhv/assembled.h"
#include "lhv/labels.h"
#include "lhv/source_reader.h"

namespace nvmx::lhv {

// The list under key `expect`; nothing if there is none, or after an error. In its lines {name}
// stands for the index of the operation that the label of the line's level names.
std::optional<std::vector<ExpectedObservation>> ReadExpected(SourceReader& reader,
                                                             const YAML::Node& list,
                                                             const Labels& labels);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_EXPECTATION_H_
