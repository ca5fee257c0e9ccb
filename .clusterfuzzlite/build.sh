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

bazel build //fuzz:fuzz_tool
mapfile -t targets < <(bazel-bin/fuzz/fuzz_tool list | cut -f1)
# One symlink prefix whatever the sanitizer, so that it is known where the binaries are.
bazel build "${configs[@]}" --symlink_prefix=bazel-fuzz- \
  $(printf '//fuzz:%s_fuzzer ' "${targets[@]}")
bazel build $(printf '//fuzz:%s_dictionary ' "${targets[@]}") \
  $(printf '//fuzz:%s_seeds ' "${targets[@]}")

for target in "${targets[@]}"; do
  install "bazel-fuzz-bin/fuzz/${target}_fuzzer" "$OUT/"
  install -m 644 bazel-bin/fuzz/"${target}"_fuzzer{.dict,_seed_corpus.zip} \
    "fuzz/${target}_fuzzer.options" "$OUT/"
done
