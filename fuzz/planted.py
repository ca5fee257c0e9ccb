# SPDX-License-Identifier: Apache-2.0
"""Defects to see fuzzers find: one line of the core changed in a copy, or a variant that there is."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys


@dataclasses.dataclass
class Defect:
    target: str
    what: str
    variant: str = ""  # of backends/sim/variants
    # A line that is changed, in which file, and which source makes that file part of the program.
    file: str = ""
    source: str = ""
    old: str = ""
    new: str = ""


MSR_LISTS = "core/nested/msr_lists.cc"
EPT12 = "core/nested/ept12.cc"
DEFECTS = [
    Defect("schedule", "an NMI exit is acknowledged after VMCS02 has been translated",
           variant="late-acknowledgement"),
    Defect("msr_list", "reserved bits of an entry to load are not looked at",
           file=MSR_LISTS, source=MSR_LISTS,
           old="if (entry.reserved != 0 || IsForbiddenToLoad(entry.index)) return false;",
           new="if (IsForbiddenToLoad(entry.index)) return false;"),
    Defect("msr_list", "IA32_GS_BASE can be loaded by a list",
           file=MSR_LISTS, source=MSR_LISTS,
           old="msr == Index(Msr::IA32_GS_BASE) || msr == Index(Msr::IA32_SMM_MONITOR_CTL)",
           new="msr == Index(Msr::IA32_SMM_MONITOR_CTL)"),
    Defect("msr_list", "a stored MSR loses its high half",
           file=MSR_LISTS, source=MSR_LISTS,
           old="WriteValue(address + offsetof(MsrListEntry, data), *value);",
           new="WriteValue(address + offsetof(MsrListEntry, data), *value & 0xFFFF'FFFF);"),
    Defect("ept12", "an entry that can be written and not read is no EPT misconfiguration",
           file=EPT12, source=EPT12,
           old="if ((entry & EptEntry::kWrite) != 0 || !Has(c, EptVpidCap::kExecuteOnly)) return true;",
           new="if (!Has(c, EptVpidCap::kExecuteOnly)) return true;"),
    Defect("vmcs12_entry", "reserved bits of the guest's RFLAGS are not looked at",
           file="core/nested/entry_rules.def", source="core/nested/entry_checks.cc",
           old="(v.Get<VmcsField::kGuestRflags>() & Rflags::kReservedMustBe0) == 0 &&",
           new="true &&"),
]

# As .bazelrc (fuzz) and build_rules.bzl have them.
COMPILE = [
    "clang++-19", "-std=c++20", "-O2", "-DNDEBUG", "-flto=thin", "-fwhole-program-vtables",
    "-fno-exceptions", "-fno-rtti", "-gline-tables-only", "-fno-omit-frame-pointer",
    "-fsanitize-coverage=inline-8bit-counters", "-fsanitize-coverage=pc-table"]


def fail(message):
    sys.stderr.write(f"fuzz: {message}\n")
    sys.exit(2)


def change(root, defect, folder):
    """The changed file below folder, and beside it the source that includes it. Returns the source."""
    with open(os.path.join(root, defect.file), encoding="utf-8") as file:
        text = file.read()
    if text.count(defect.old) != 1:
        fail(f"{defect.file} no longer has the line that is to be changed:\n  {defect.old}")
    changed = os.path.join(folder, defect.file)
    os.makedirs(os.path.dirname(changed), exist_ok=True)
    with open(changed, "w", encoding="utf-8") as file:
        file.write(text.replace(defect.old, defect.new))
    source = os.path.join(folder, defect.source)
    if not os.path.exists(source):
        shutil.copy(os.path.join(root, defect.source), source)
    return source


def build(root, program, defect, folder):
    """Links the program again with the changed source in place of the one that it has."""
    source = change(root, defect, folder)
    with open(f"{program}-2.params", encoding="utf-8") as file:
        link = [line.rstrip("\n") for line in file]
    stem = os.path.splitext(os.path.basename(defect.source))[0]
    own = re.compile(rf"/{os.path.dirname(defect.source)}/_objs/[^/]+/{stem}\.o$")
    places = [index for index, word in enumerate(link) if own.search(word)]
    if len(places) != 1:
        fail(f"{program} no longer links {defect.source} as one object")
    link[places[0]] = os.path.join(folder, "changed.o")
    changed_program = os.path.join(folder, os.path.basename(program))
    link[link.index("-o") + 1] = changed_program
    answers = os.path.join(folder, "link.params")
    with open(answers, "w", encoding="utf-8") as file:
        file.write("\n".join(link) + "\n")
    # Bazel's paths are relative to where its bazel-out is.
    execroot = os.path.realpath(program).split("/bazel-out/")[0]
    compiler = [*COMPILE, "-iquote", folder, "-iquote", root, "-c", source, "-o", link[places[0]]]
    for command, where in ((compiler, root), (["clang-19", f"@{answers}"], execroot)):
        result = subprocess.run(command, cwd=where, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode != 0:
            fail(f"{result.stdout}\na program with a planted defect cannot be built")
    return changed_program
