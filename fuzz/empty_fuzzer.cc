// SPDX-License-Identifier: Apache-2.0
//
// What libFuzzer itself costs: the rate that those of the targets are held against.
#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t*, size_t) { return 0; }
