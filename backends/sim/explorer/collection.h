// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_COLLECTION_H_
#define NVMX_BACKENDS_SIM_EXPLORER_COLLECTION_H_

#include <span>

namespace nvmx::sim {

// A scenario file of scenarios/, built into the program so that it can be run from anywhere.
struct CollectionFile {
  const char* name;
  const char* path;
  const char* text;
  // The recorded schedule that shows the failure; empty if the scenario has none.
  const char* schedule;
};

std::span<const CollectionFile> Collection();

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_COLLECTION_H_
