# SPDX-License-Identifier: Apache-2.0
"""The C++ rules of this project: one set of compiler options for everything.

nvmx_core_library   freestanding code: builds hosted and on bare metal, so no exceptions and no RTTI
nvmx_bare_metal_library
                    code that runs on a bare machine only; built through the multiboot_image that it is
                    part of (//third_party/bare_metal:toolchain.bzl)
nvmx_cc_library     hosted code
nvmx_cc_test        GoogleTest tests; gtest, gmock and main come with it
nvmx_cc_binary      programs
"""

# The programs walk the stacks of their own fibers by frame pointer and name the frames from the line
# tables; "for profiling" adds the qualified names of inlined functions.
_FOR_STACK_WALKS = [
    "-fno-omit-frame-pointer",
    "-mno-omit-leaf-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-gline-tables-only",
    "-fdebug-info-for-profiling",
]

_COPTS = [
    "-std=c++20",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
] + select({
    # Nobody walks them on a bare machine.
    "//third_party/bare_metal:x86_64": ["-gline-tables-only"],
    "//third_party/bare_metal:i386": ["-gline-tables-only"],
    # Nor in a fuzzer, which has no report of what a fiber stands in.
    "//fuzz/hot_paths:used": ["-gline-tables-only"],
    "//conditions:default": _FOR_STACK_WALKS,
})

# Of --config=fuzz: //fuzz/hot_paths tells more.
_HOT_PATHS_COPTS = select({
    "//fuzz/hot_paths:used": [
        "-fprofile-use=$(GENDIR)/fuzz/hot_paths/any_fuzzer.profdata",
        "-include",
        "$(GENDIR)/fuzz/hot_paths/profile_digest.h",
        # What has changed since the profile was written is compiled without it.
        "-Wno-profile-instr-out-of-date",
        "-Wno-profile-instr-unprofiled",
        "-Wno-backend-plugin",
    ],
    "//conditions:default": [],
})
_HOT_PATHS_DEPS = select({
    "//fuzz/hot_paths:used": ["//fuzz/hot_paths"],
    "//conditions:default": [],
})

_CORE_COPTS = _COPTS + [
    "-fno-exceptions",
    "-fno-rtti",
]

def nvmx_core_library(name, copts = [], deps = [], **kwargs):
    # For the test that compiles them for a machine without an operating system.
    native.filegroup(
        name = name + "_sources",
        srcs = kwargs.get("srcs", []) + kwargs.get("hdrs", []) + kwargs.get("textual_hdrs", []),
        testonly = kwargs.get("testonly", False),
    )
    native.cc_library(
        name = name,
        copts = _CORE_COPTS + copts + _HOT_PATHS_COPTS,
        linkstatic = True,
        deps = deps + _HOT_PATHS_DEPS,
        **kwargs
    )

def nvmx_bare_metal_library(name, copts = [], **kwargs):
    native.cc_library(
        name = name,
        copts = _CORE_COPTS + copts,
        linkstatic = True,
        tags = ["manual"],
        **kwargs
    )

def nvmx_cc_library(name, copts = [], deps = [], **kwargs):
    native.cc_library(
        name = name,
        copts = _COPTS + copts + _HOT_PATHS_COPTS,
        linkstatic = True,
        deps = deps + _HOT_PATHS_DEPS,
        **kwargs
    )

def nvmx_cc_binary(name, copts = [], deps = [], **kwargs):
    native.cc_binary(
        name = name,
        copts = _COPTS + copts + _HOT_PATHS_COPTS,
        linkstatic = True,
        deps = deps + _HOT_PATHS_DEPS,
        **kwargs
    )

def nvmx_cc_test(name, copts = [], deps = [], size = "small", **kwargs):
    native.cc_test(
        name = name,
        copts = _COPTS + copts,
        linkstatic = True,
        size = size,
        deps = deps + ["@googletest//:gtest_main"],
        **kwargs
    )
