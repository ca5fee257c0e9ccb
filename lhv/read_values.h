// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_READ_VALUES_H_
#define NVMX_LHV_READ_VALUES_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/vmx/msr_list.h"
#include "lhv/source_reader.h"

namespace nvmx::lhv {

// The MSR index that the node names, or gives as a number.
std::optional<uint32_t> ReadMsr(SourceReader& reader, const YAML::Node& node);

// The encoding of the VMCS field that the node names, or gives as a number.
std::optional<uint32_t> ReadField(SourceReader& reader, const YAML::Node& node);

// The entries of a list [{msr, value, reserved, repeat}, ...]; at most `most` of them.
std::optional<std::vector<MsrListEntry>> ReadMsrList(SourceReader& reader, const YAML::Node& list,
                                                     uint64_t most);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_READ_VALUES_H_
