# SPDX-License-Identifier: Apache-2.0
"""Boots //backends/vmx-hw/cost in Bochs, natively and under nvmx, and makes a table of what it counts."""

import dataclasses
import os
import re
import subprocess
import tempfile

from lib.bazel import ROOT
from lib.metal.image import make_image
from lib.problem import Problem

IMAGE = "//backends/vmx-hw/cost:cost"
L0 = "//backends/vmx-hw/l0:nvmx log=none"
MODEL = "corei7_skylake_x"
# Without VMCS shadowing, and without EPT pages of 1 GByte.
OLDER_MODEL = "corei7_ivy_bridge_3770k"


@dataclasses.dataclass(frozen=True)
class Run:
    model: str
    cpus: int
    nested: bool


@dataclasses.dataclass(frozen=True)
class Step:
    text: str
    name: str  # as the image calls it
    model: str = MODEL
    cpus: int = 1
    # What KVM took as L0: Debian 12's kernel 6.1 in this Bochs, this model of it.
    kvm: int = None


STEPS = (
    Step("CPUID by L1", "cpuid", kvm=976),
    Step("exit of L2 for CPUID: L1 does 3 VMREADs, 1 VMWRITE, VMRESUME", "exit", kvm=13910),
    Step("the same, with three lists of 8 MSRs", "exit-lists", kvm=24423),
    Step("the same, with EPT, VPID and MSR bitmap", "exit-ept"),
    Step("the same as the first, without VMCS shadowing", "exit", OLDER_MODEL),
    Step("VMREAD of a shadowed field", "vmread"),
    Step("VMWRITE of a shadowed field", "vmwrite"),
    Step("VMREAD of a field that is not shadowed", "vmread-rare"),
    Step("VMWRITE of a field that is not shadowed", "vmwrite-rare"),
    Step("VMREAD without VMCS shadowing", "vmread", OLDER_MODEL),
    Step("VMWRITE without VMCS shadowing", "vmwrite", OLDER_MODEL),
    Step("read by L2 of a page that is in EPT02", "ept-touch"),
    Step("read by L2 that fills a page of EPT02", "ept-fill"),
    Step("the same, with a new paging structure", "ept-fill-new"),
    Step("WRMSR of an MTRR, no type changes: quiesce of 1 CPU", "mtrr"),
    Step("the same, quiesce of 2 CPUs", "mtrr", cpus=2),
    Step("the same, quiesce of 4 CPUs", "mtrr", cpus=4),
    Step("WRMSR of an MTRR that changes types: EPT01 filled, 1 CPU", "mtrr-types"),
    Step("the same, 2 CPUs", "mtrr-types", cpus=2),
    Step("the same, 4 CPUs", "mtrr-types", cpus=4),
    Step("the same, 1 CPU, no EPT pages of 1 GByte", "mtrr-types", OLDER_MODEL),
)


def read_costs(text):
    """What the image has printed: {name: ticks of one round}."""
    costs = {}
    for name, ticks, rounds in re.findall(r"^cost (\S+) (\d+) (\d+)$", text, re.MULTILINE):
        if int(rounds) == 0:
            raise Problem(f"the image has counted no rounds of {name}")
        costs[name] = int(ticks) / int(rounds)
    return costs


def boot(run, cd, timeout):
    booted = subprocess.run(["scripts/bochs", "--model", run.model, "--cpus", str(run.cpus),
                             "--timeout", str(timeout), cd], cwd=ROOT, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if booted.returncode != 0:
        raise Problem(f"{booted.stdout}\n{run} did not come to a good end")
    costs = read_costs(booted.stdout)
    missing = {step.name for step in STEPS} - costs.keys()
    if missing:
        raise Problem(f"{booted.stdout}\n{run} says nothing of {', '.join(sorted(missing))}")
    return costs


def measure(timeout):
    """{Run: {name: ticks}} for all that the table needs."""
    runs = {}
    with tempfile.TemporaryDirectory() as directory:
        for nested in (False, True):
            cd = os.path.join(directory, "cd.iso")
            make_image(cd, f"{L0}, {IMAGE}" if nested else IMAGE)
            for model, cpus in sorted({(step.model, step.cpus) for step in STEPS}):
                run = Run(model, cpus, nested)
                runs[run] = boot(run, cd, timeout)
    return runs


def table(runs):
    """The table in Markdown."""
    rows = ["| step, in instructions | native | nvmx | KVM | nvmx / KVM |", "|---|--:|--:|--:|--:|"]
    for step in STEPS:
        native = runs[Run(step.model, step.cpus, False)][step.name]
        nested = runs[Run(step.model, step.cpus, True)][step.name]
        kvm, ratio = (f"{step.kvm:,}", f"{nested / step.kvm:.2f}") if step.kvm else ("", "")
        rows.append(f"| {step.text} | {native:,.0f} | {nested:,.0f} | {kvm} | {ratio} |")
    return "\n".join(rows)
