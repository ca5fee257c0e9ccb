// SPDX-License-Identifier: Apache-2.0
#include "fuzz/fuzzer.h"

NVMX_FUZZER("msr_list")
