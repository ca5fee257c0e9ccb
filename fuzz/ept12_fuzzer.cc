// SPDX-License-Identifier: Apache-2.0
#include "fuzz/fuzzer.h"

NVMX_FUZZER("ept12")
