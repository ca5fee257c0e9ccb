// SPDX-License-Identifier: Apache-2.0
//
// What libFuzzer calls, over a Target. Each *_fuzzer.cc is one of these lines.
#ifndef NVMX_FUZZ_FUZZER_H_
#define NVMX_FUZZ_FUZZER_H_

#include <cstddef>
#include <cstdint>

namespace nvmx::fuzz {

// By the environment:
//   NVMX_FUZZ_FINDS=DIRECTORY  finds are written there, one for each signature, and it goes on.
//                              Otherwise the first one ends the process, as libFuzzer wants it.
//   NVMX_FUZZ_KEEP=N           inputs of the first N executions alone are kept: from then on
//                              libFuzzer does not grow.
//   NVMX_FUZZ_REACHED=FILE     what was reached is counted there (struct Reached), for a reader.
int RunOne(const char* target, const uint8_t* data, size_t size);
size_t MutateOne(const char* target, uint8_t* data, size_t size, size_t capacity, unsigned seed);
size_t CrossOverOne(const char* target, const uint8_t* a, size_t a_size, const uint8_t* b,
                    size_t b_size, uint8_t* out, size_t capacity, unsigned seed);

}  // namespace nvmx::fuzz

#define NVMX_FUZZER(name)                                                                        \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {                      \
    return nvmx::fuzz::RunOne(name, data, size);                                                 \
  }                                                                                              \
  extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t capacity,         \
                                            unsigned seed) {                                     \
    return nvmx::fuzz::MutateOne(name, data, size, capacity, seed);                              \
  }                                                                                              \
  extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* a, size_t a_size, const uint8_t* b, \
                                              size_t b_size, uint8_t* out, size_t capacity,      \
                                              unsigned seed) {                                   \
    return nvmx::fuzz::CrossOverOne(name, a, a_size, b, b_size, out, capacity, seed);            \
  }

#endif  // NVMX_FUZZ_FUZZER_H_
