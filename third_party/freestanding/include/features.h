// SPDX-License-Identifier: Apache-2.0
//
// In place of glibc's: there is no C library. libstdc++ asks only which version there is.
#define __GLIBC_PREREQ(major, minor) 0
