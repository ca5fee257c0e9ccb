# SPDX-License-Identifier: Apache-2.0
"""Runs guest programs on a machine, and compares what they observe with the simulated processor."""

import dataclasses
import os
import re
import subprocess
import sys
import tempfile

from lib.bazel import ROOT, Bazel
from lib.metal.image import make_image
from lib.metal.tap import read_tap
from lib.problem import Problem

SUITES = "lhv/suites"

# What the images of a machine are called.
SUFFIX_OF_ARCH = {"x86_64": "", "i386": "_i386"}


@dataclasses.dataclass(frozen=True)
class Archs:
    """What the two levels are for. The names of files and labels follow."""
    l0: str = "x86_64"
    l1: str = "x86_64"

    def __post_init__(self):
        if (self.l0, self.l1) == ("i386", "x86_64"):
            raise Problem("an i386 L0 offers no IA-32e mode: its L1 has to be i386, too")

    def targets(self):
        """Package and name of each."""
        return (("tools", "nvmx"), ("lhv/image", f"lhv{SUFFIX_OF_ARCH[self.l1]}"),
                ("backends/vmx-hw/l0", f"nvmx{SUFFIX_OF_ARCH[self.l0]}"))


@dataclasses.dataclass(frozen=True)
class Binaries:
    nvmx: str
    lhv: str
    l0: str
    archs: Archs = Archs()

    @classmethod
    def of(cls, folder, archs=Archs()):
        """Those that lie there as in bazel-bin."""
        tool, lhv, l0 = (os.path.join(folder, *target) for target in archs.targets())
        binaries = cls(tool, f"{lhv}.elf", f"{l0}.elf", archs)
        for path in (binaries.nvmx, binaries.lhv, binaries.l0):
            if not os.path.isfile(path):
                raise Problem(f"there is no file {path}")
        return binaries

    @classmethod
    def build(cls, archs=Archs()):
        return cls.of(Bazel().build_all([f"//{package}:{name}" for package, name in archs.targets()]), archs)


def find_programs(suites):
    """The files and folders that the user names: folders of lhv/suites by their names."""
    found = []
    for suite in suites or [SUITES]:
        in_suites = os.path.join(SUITES, suite)
        if os.path.exists(os.path.join(ROOT, in_suites)):
            found.append(in_suites)
        elif os.path.exists(os.path.join(ROOT, suite)):
            found.append(suite)
        elif os.path.exists(suite):
            found.append(os.path.abspath(suite))
        else:
            names = sorted(os.listdir(os.path.join(ROOT, SUITES)))
            names = [name for name in names if os.path.isdir(os.path.join(ROOT, SUITES, name))]
            raise Problem(f"there is no suite and no file \"{suite}\"; the suites are {', '.join(names)}")
    return found


def whole_lines(output):
    """Of a machine that stops the last line may be cut; what is left of it is no observation."""
    return output[:output.rfind("\n") + 1]


class BadRun(Exception):
    """The machine did not do what it was booted for: a verdict, not a problem of the script."""


class Calibration:
    def __init__(self, emulator, binaries, nested, limits):
        self.emulator = emulator
        self.binaries = binaries
        self.nested = nested
        self.limits = limits
        cpus = emulator.machine.cpus
        # Programs for more CPUs than there are stay in; the image says that it cannot run them.
        self.for_machine = ["--cpus", str(cpus)] if cpus > 1 else []
        self.for_machine += ["--l1_arch", binaries.archs.l1] if binaries.archs.l1 != "x86_64" else []
        self.boots = 0
        self.cpu_seconds = 0.0
        self.serial = ""
        self.log = ""

    def nvmx(self, *arguments):
        return subprocess.run([self.binaries.nvmx, *arguments], cwd=ROOT, check=False,
                              stdout=subprocess.PIPE, text=True, errors="replace")

    def run(self, programs):
        """Boots the machine until all programs have run. What it wrote is in `serial` then."""
        with tempfile.TemporaryDirectory(prefix="nvmx-calibration-") as folder:
            pack = os.path.join(folder, "pack")
            packed = self.nvmx("pack", *self.for_machine, "--output", pack, *programs)
            if packed.returncode != 0:
                raise Problem("the programs cannot be packed")
            first = 0
            while first is not None:
                first = self.behind(self.boot(folder, pack, first))

    def boot(self, folder, pack, first):
        cpus = self.emulator.machine.cpus
        entry = f"{self.binaries.lhv} first={first} cpus={cpus}, {pack}"
        if self.nested:
            entry = f"{self.binaries.l0} log=none, {entry}"
        iso = os.path.join(folder, "cd.iso")
        make_image(iso, entry)
        run = self.emulator.run(iso, self.limits)
        self.boots += 1
        self.cpu_seconds += run.cpu_seconds
        self.serial += whole_lines(run.output)
        self.log += run.log
        return run

    def behind(self, run):
        """The number of the program behind the one that stopped the machine; None if none did."""
        def bad(what):
            why = self.emulator.why_it_gave_up(run.log)
            raise BadRun("\n".join(filter(None, [run.last_lines() or run.screen, why, what])))

        if run.timed_out:
            bad(f"no end after {self.limits.seconds:g} s")
        cpus = re.search(r"^@image cpus (\d+)$", run.output, re.MULTILINE)
        if not cpus:
            bad("the image for guest programs did not begin; the last lines of COM1 are above")
        if int(cpus.group(1)) != self.emulator.machine.cpus:
            bad(f"{cpus.group(1)} of {self.emulator.machine.cpus} CPUs run")
        if re.search(r"^@finished \d+$", run.output, re.MULTILINE):
            return None
        begun = re.findall(r"^@program (\d+) (.*)$", run.output, re.MULTILINE)
        if not begun:
            bad("the image came to no program; the last lines of COM1 are above")
        index, name = begun[-1]
        why = self.emulator.why_it_gave_up(run.log)
        sys.stderr.write(f"{self.emulator.name}: {name} stops the machine{': ' + why if why else ''}\n")
        return int(index) + 1

    def compare(self, programs, processor, verbose):
        """The result of each program."""
        with tempfile.NamedTemporaryFile("w", prefix="nvmx-serial-", encoding="latin-1") as log:
            log.write(self.serial)
            log.flush()
            machine = f"{self.emulator.name}-{'nested' if self.nested else 'native'}"
            lowest = self.binaries.archs.l0 if self.nested else self.binaries.archs.l1
            machine += f"-{lowest}" if lowest != "x86_64" else ""
            flags = [*self.for_machine, *(["--processor", processor] if processor else []),
                     *(["--verbose"] if verbose else [])]
            compared = self.nvmx("compare", "--log", log.name, "--tap", "--log_of", machine, *flags,
                                 *programs)
        if compared.returncode not in (0, 1):
            raise Problem("nvmx compare cannot compare")
        stream = read_tap(compared.stdout)
        if bool(stream.bad) != (compared.returncode == 1):
            raise Problem(f"nvmx compare ends with status {compared.returncode}, and its stream says "
                          f"that {len(stream.bad)} are bad")
        return stream, compared.stdout
