// SPDX-License-Identifier: Apache-2.0
//
// Names of the bits of registers and fields other than controls, as programs write them.
#ifndef NVMX_LHV_BIT_NAMES_H_
#define NVMX_LHV_BIT_NAMES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lhv/source_reader.h"

namespace nvmx::lhv {

// The kinds of values that bits are named of: "cr0", "cr4", "efer", "rflags", "interruptibility",
// "pending_debug", "access_rights", "ept_entry", "page_entry".
std::vector<std::string> BitValueNames();

// The value with the bits that the list names of that kind; an element can also be a number.
std::optional<uint64_t> ReadBits(SourceReader& reader, const std::string& kind,
                                 const YAML::Node& list);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_BIT_NAMES_H_
