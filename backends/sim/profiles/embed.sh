#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the C++ source that holds the given profile files.
set -eu
cat <<'HEAD'
// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/profiles/profile.h"

namespace nvmx::sim {
namespace {

constexpr ProfileFile kFiles[] = {
HEAD
for file in "$@"; do
  printf '    {"%s", "%s",\n     R"nvmx(' "$(basename "$file" .yaml)" "$file"
  cat "$file"
  printf ')nvmx"},\n'
done
cat <<'TAIL'
};

}  // namespace

std::span<const ProfileFile> ProfileFiles() { return kFiles; }

}  // namespace nvmx::sim
TAIL
