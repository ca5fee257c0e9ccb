# SPDX-License-Identifier: Apache-2.0
"""Builds nvmx and the guest hypervisor of lhv/image, and boots both in Bochs."""

import os
import re
import subprocess

from lib.bazel import ROOT
from lib.metal.calibration import Binaries
from lib.metal.command_line import PROGRAM_LIMITS
from lib.metal.image import make_image
from lib.problem import Problem


def lines_of(output, texts):
    """The lines that have one of these texts."""
    return [line for line in output.splitlines() if any(part in line for part in texts)]


def call(command):
    """Its status and what it writes."""
    return subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)


def must(command):
    result = call(command)
    if result.returncode != 0:
        raise Problem(f"{' '.join(command)}\n{result.stdout}")
    return result.stdout


class NestedBoot:
    """`work` is a folder for what is made on the way."""

    def __init__(self, work):
        self.work = work
        self.binaries = Binaries.build()

    def pack(self, programs, cpus):
        """Packs guest programs for the boots to come; how many there are."""
        output = must([self.binaries.nvmx, "pack", "--cpus", str(cpus), "--output", f"{self.work}/pack",
                       *programs])
        return int(re.search(r"(\d+) programs", output).group(1))

    def run(self, name, cpus, l0_options, first, timeout):
        """Boots; what comes out of COM1. `first` is the program to begin with."""
        disc, serial = f"{self.work}/{name}.iso", f"{self.work}/{name}.serial"
        make_image(disc, f"{self.binaries.l0} {l0_options}, "
                   f"{self.binaries.lhv} first={first} cpus={cpus}, {self.work}/pack")
        # A VMX abort, say, leaves nobody who ends the run.
        result = call(["scripts/bochs", "--cpus", str(cpus), "--timeout", str(timeout),
                       "--silence", str(PROGRAM_LIMITS.silence), "--serial", serial, disc])
        if not os.path.exists(serial):
            raise Problem(f"Bochs, {l0_options}:\n{result.stdout}")
        with open(serial, encoding="ascii", errors="replace") as lines:
            return lines.read()
