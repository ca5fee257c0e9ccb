// SPDX-License-Identifier: Apache-2.0
//
// libstdc++'s configuration for a machine without threads and futexes, which <atomic> would ask for,
// and without wide characters, which <string_view> would.
#pragma GCC system_header
#include_next <bits/c++config.h>
#undef _GLIBCXX_HAS_GTHREADS
#undef _GLIBCXX_HAVE_LINUX_FUTEX
#undef _GLIBCXX_HAVE_WCHAR_H
#undef _GLIBCXX_USE_WCHAR_T
#undef _GLIBCXX_HAVE_MBSTATE_T
// <string_view> includes it for operator<<, and it includes locales.
#define _OSTREAM_INSERT_H 1
