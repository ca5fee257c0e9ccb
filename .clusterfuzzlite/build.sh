#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds every fuzz target into $OUT, each with what ClusterFuzz takes beside it: the seed corpus as
# a zip file, the dictionary, and the options. $SANITIZER is "address", "undefined" or "none".
#
# The compiler and the engine are the project's own (scripts/setup, .bazelrc), not those of $CXX and
# $LIB_FUZZING_ENGINE: the system's libraries that it links are built for that C++ library.
set -euo pipefail
: "${OUT:?OUT must name the output folder}"
root=${SRC:+$SRC/nvmx}
cd "${root:-$(dirname "${BASH_SOURCE[0]}")/..}"

configs=(--config=fuzz)
case ${SANITIZER:=none} in
  address) configs+=(--config=asan) ;;
  undefined) configs+=(--config=ubsan) ;;
  none) ;;
  *)
    echo "build.sh: SANITIZER=$SANITIZER: expected address, undefined or none" >&2
    exit 2
    ;;
esac
mkdir -p "$OUT"

bazel build -c opt //fuzz:fuzz_tool
tool=bazel-bin/fuzz/fuzz_tool
mapfile -t rows < <("$tool" list)
labels=()
for row in "${rows[@]}"; do labels+=("//fuzz:${row%%$'\t'*}_fuzzer"); done
# One symlink prefix whatever the sanitizer, so that it is known where the binaries are.
bazel build "${configs[@]}" --symlink_prefix=bazel-fuzz- "${labels[@]}"

seeds=$(mktemp -d)
trap 'rm -rf "$seeds"' EXIT
for row in "${rows[@]}"; do
  target=${row%%$'\t'*}
  install "bazel-fuzz-bin/fuzz/${target}_fuzzer" "$OUT/"
  install -m 644 "fuzz/${target}_fuzzer.options" "$OUT/"
  mkdir "$seeds/$target"
  "$tool" seeds "$target" lhv/suites "$seeds/$target"
  rm -f "$OUT/${target}_fuzzer_seed_corpus.zip"
  (cd "$seeds/$target" && find . -type f | LC_ALL=C sort |
    zip -q -X -@ "$OUT/${target}_fuzzer_seed_corpus.zip")
  "$tool" dictionary "$target" >"$OUT/${target}_fuzzer.dict"
done
