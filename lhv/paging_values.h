// SPDX-License-Identifier: Apache-2.0
//
// How programs write what an entry of paging structures holds besides the address.
#ifndef NVMX_LHV_PAGING_VALUES_H_
#define NVMX_LHV_PAGING_VALUES_H_

#include <cstdint>
#include <optional>

#include "lhv/paging_tables.h"
#include "lhv/source_reader.h"

namespace nvmx::lhv {

// Keys access, memory_type (EPT only) and bits of `map`. For an entry of EPT: read, write and
// execute access to WB memory unless they say otherwise. For one of guest paging structures:
// present, writable and executable, and accessed and dirty unless there are bits.
std::optional<uint64_t> ReadEntryBits(SourceReader& reader, const YAML::Node& map, bool is_ept,
                                      bool maps_page);

// A memory type by its name, UC to WB, or its number.
std::optional<uint64_t> ReadMemoryType(SourceReader& reader, const YAML::Node& node);

// The level of the entries that map pages of this size: 4K, 2M or 4M, 1G.
std::optional<unsigned> ReadPageSize(SourceReader& reader, const YAML::Node& node);

// true or false.
std::optional<bool> ReadFlag(SourceReader& reader, const YAML::Node& node, const std::string& what);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_PAGING_VALUES_H_
