# SPDX-License-Identifier: Apache-2.0
"""clang for a machine without an operating system, and the transition that builds with it."""

load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "ACTION_NAMES")
load("@bazel_tools//tools/cpp:cc_toolchain_config_lib.bzl", "feature", "flag_group", "flag_set", "tool_path")

_COMPILE_ACTIONS = [
    ACTION_NAMES.c_compile,
    ACTION_NAMES.cpp_compile,
    ACTION_NAMES.assemble,
    ACTION_NAMES.preprocess_assemble,
    ACTION_NAMES.cpp_header_parsing,
]

_FLAGS = [
    "-O2",
    # An image is one program: what has one implementation is called directly, and inline.
    "-flto",
    "-fwhole-program-vtables",
    "-ffreestanding",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-pic",
    "-fno-stack-protector",
    "-fno-threadsafe-statics",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
    "-ffile-compilation-dir=.",
    "-no-canonical-prefixes",
    "-mno-red-zone",
    # Without it the compiler keeps them for this target: two or three instructions of each call.
    "-fomit-frame-pointer",
    "-mno-sse",
    "-mno-mmx",
    # An atomic access of 64 bits on i386 goes by CMPXCHG8B and not by the x87 FPU, which is a guest's.
    "-mno-implicit-float",
    # From <cstdlib>'s stand-in on, see //third_party/freestanding.
    "-nostdlibinc",
    "-nostdinc++",
    "-isystem",
    "third_party/freestanding/include",
    "-isystem",
    "/usr/include/c++/12",
    "-isystem",
    "/usr/include/x86_64-linux-gnu/c++/12",
]

def _config_impl(ctx):
    tools = {
        "ar": "/usr/bin/llvm-ar-19",
        "cpp": "/usr/bin/clang-19",
        "gcc": "/usr/bin/clang-19",
        "gcov": "/usr/bin/llvm-cov-19",
        "ld": "/usr/bin/ld.lld-19",
        "nm": "/usr/bin/llvm-nm-19",
        "objcopy": "/usr/bin/llvm-objcopy-19",
        "objdump": "/usr/bin/llvm-objdump-19",
        "strip": "/usr/bin/llvm-strip-19",
    }
    flags = feature(
        name = "bare_metal_flags",
        enabled = True,
        flag_sets = [flag_set(
            actions = _COMPILE_ACTIONS,
            flag_groups = [flag_group(flags = ["--target=%s-elf" % ctx.attr.machine] + _FLAGS)],
        )],
    )
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        toolchain_identifier = "bare-metal-" + ctx.attr.machine,
        host_system_name = "local",
        target_system_name = "none",
        target_cpu = "bare_" + ctx.attr.machine,
        target_libc = "none",
        compiler = "clang",
        abi_version = "none",
        abi_libc_version = "none",
        features = [flags],
        tool_paths = [tool_path(name = name, path = path) for name, path in tools.items()],
        cxx_builtin_include_directories = [
            "%workspace%/third_party/freestanding/include",
            "/usr/include/c++/12",
            "/usr/include/x86_64-linux-gnu/c++/12",
            "/usr/lib/clang/19/include",
            "/usr/lib/llvm-19/lib/clang/19/include",
        ],
    )

bare_metal_toolchain_config = rule(
    implementation = _config_impl,
    attrs = {"machine": attr.string(mandatory = True, values = ["x86_64", "i386"])},
    provides = [CcToolchainConfigInfo],
)

def _transition_impl(settings, attr):
    # Options of the hosted build (sanitizers, coverage, LTO) mean nothing on bare metal.
    return {
        "//command_line_option:crosstool_top": "//third_party/bare_metal:toolchain",
        "//command_line_option:cpu": "bare_" + attr.machine,
        "//command_line_option:compilation_mode": "opt",
        "//command_line_option:copt": [],
        "//command_line_option:cxxopt": [],
        "//command_line_option:linkopt": [],
        "//command_line_option:per_file_copt": [],
        "//command_line_option:platform_suffix": "-bare",
    }

bare_metal_transition = transition(
    implementation = _transition_impl,
    inputs = [],
    outputs = [
        "//command_line_option:crosstool_top",
        "//command_line_option:cpu",
        "//command_line_option:compilation_mode",
        "//command_line_option:copt",
        "//command_line_option:cxxopt",
        "//command_line_option:linkopt",
        "//command_line_option:per_file_copt",
        "//command_line_option:platform_suffix",
    ],
)

def _image_impl(ctx):
    archives = []
    for dep in ctx.attr.deps:
        for linker_input in dep[CcInfo].linking_context.linker_inputs.to_list():
            for library in linker_input.libraries:
                archives.append(library.static_library or library.pic_static_library)
    archives = depset(archives).to_list()
    linked = ctx.actions.declare_file(ctx.label.name + ".debug")
    arguments = ctx.actions.args()
    arguments.add_all(["-m", {"x86_64": "elf_x86_64", "i386": "elf_i386"}[ctx.attr.machine]])
    arguments.add_all(["-static", "--gc-sections", "--build-id=none", "--fatal-warnings"])
    arguments.add_all(["-z", "max-page-size=4096", "-z", "noexecstack"])
    arguments.add_all(["--lto-O3", "--lto-whole-program-visibility"])
    arguments.add_all(["-mllvm", "-inline-threshold=600"])
    arguments.add("-T", ctx.file.script)
    arguments.add("-o", linked)
    arguments.add("--start-group")
    arguments.add_all(archives)
    if ctx.attr.machine == "i386":
        # Division of 64-bit numbers.
        arguments.add("/usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.builtins-i386.a")
    arguments.add("--end-group")
    ctx.actions.run(
        executable = "/usr/bin/ld.lld-19",
        arguments = [arguments],
        inputs = archives + [ctx.file.script],
        outputs = [linked],
        mnemonic = "LinkImage",
        progress_message = "Linking image %s" % ctx.label.name,
    )

    # Boot loaders take a 32-bit ELF file for either machine.
    image = ctx.actions.declare_file(ctx.label.name + ".elf")
    ctx.actions.run(
        executable = "/usr/bin/llvm-objcopy-19",
        arguments = ["--strip-all", "-O", "elf32-i386", linked.path, image.path],
        inputs = [linked],
        outputs = [image],
        mnemonic = "StripImage",
    )
    return [
        DefaultInfo(files = depset([image]), runfiles = ctx.runfiles([image])),
        OutputGroupInfo(debug = depset([linked])),
    ]

# A multiboot 1 image NAME.elf of what is in `deps`, built for bare metal. With symbols it is NAME.debug
# (--output_groups=debug).
multiboot_image = rule(
    implementation = _image_impl,
    attrs = {
        "deps": attr.label_list(providers = [CcInfo], cfg = bare_metal_transition),
        "machine": attr.string(default = "x86_64", values = ["x86_64", "i386"]),
        "script": attr.label(
            default = "//backends/vmx-hw/machine:image.ld",
            allow_single_file = True,
        ),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)
