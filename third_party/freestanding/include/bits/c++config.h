// SPDX-License-Identifier: Apache-2.0
//
// libstdc++'s configuration for a machine without threads and futexes, which <atomic> would ask for.
#pragma GCC system_header
#include_next <bits/c++config.h>
#undef _GLIBCXX_HAS_GTHREADS
#undef _GLIBCXX_HAVE_LINUX_FUTEX
