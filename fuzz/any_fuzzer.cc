// SPDX-License-Identifier: Apache-2.0
//
// Every target in one program: NVMX_FUZZ_TARGET in the environment names it. scripts/fuzz runs this
// one, because it is linked once and not once for each target.
#include <cstdio>
#include <cstdlib>

#include "fuzz/fuzzer.h"

namespace {

const char* Name() {
  static const char* const name = [] {
    const char* value = std::getenv("NVMX_FUZZ_TARGET");
    if (value == nullptr) {
      std::fputs("any_fuzzer: NVMX_FUZZ_TARGET must name the target\n", stderr);
      std::_Exit(2);
    }
    return value;
  }();
  return name;
}

}  // namespace

NVMX_FUZZER(Name())
