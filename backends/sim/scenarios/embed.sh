#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the C++ source that holds the given scenario files, and the .schedule file beside each that has one.
set -eu
cat <<'HEAD'
// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/collection.h"

namespace nvmx::sim {
namespace {

constexpr CollectionFile kFiles[] = {
HEAD
for file in "$@"; do
  case "$file" in *.yaml) ;; *) continue ;; esac
  name=$(basename "$file" .yaml)
  name=${name#[0-9][0-9]-}
  printf '    {"%s", "%s",\n     R"nvmx(' "$name" "$file"
  cat "$file"
  printf ')nvmx", R"nvmx('
  [ ! -f "${file%.yaml}.schedule" ] || cat "${file%.yaml}.schedule"
  printf ')nvmx"},\n'
done
cat <<'TAIL'
};

}  // namespace

std::span<const CollectionFile> Collection() { return kFiles; }

}  // namespace nvmx::sim
TAIL
