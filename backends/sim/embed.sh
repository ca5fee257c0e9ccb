#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the C++ source that holds the given .yaml files, so that programs find them wherever they are started.
#   embed.sh HEADER TYPE FUNCTION FILE...
# The source includes HEADER and defines FUNCTION, which returns a span of TYPE: name (without a number in front), path, contents; and the
# contents of the .schedule file beside it, if any of the files is one.
set -eu
header=$1 type=$2 function=$3
shift 3
schedules=no
for file in "$@"; do
  case "$file" in *.schedule) schedules=yes ;; esac
done
cat <<HEAD
// SPDX-License-Identifier: Apache-2.0
#include "$header"

namespace nvmx::sim {
namespace {

constexpr $type kFiles[] = {
HEAD
for file in "$@"; do
  case "$file" in *.yaml) ;; *) continue ;; esac
  name=$(basename "$file" .yaml)
  printf '    {"%s", "%s",\n     R"nvmx(' "${name#[0-9][0-9]-}" "$file"
  cat "$file"
  printf ')nvmx"'
  if [ "$schedules" = yes ]; then
    printf ', R"nvmx('
    [ ! -f "${file%.yaml}.schedule" ] || cat "${file%.yaml}.schedule"
    printf ')nvmx"'
  fi
  printf '},\n'
done
cat <<TAIL
};

}  // namespace

std::span<const $type> $function() { return kFiles; }

}  // namespace nvmx::sim
TAIL
