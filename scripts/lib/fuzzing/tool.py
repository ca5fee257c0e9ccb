# SPDX-License-Identifier: Apache-2.0
"""What //fuzz:fuzz_tool knows of the targets."""

import dataclasses
import subprocess

from lib.bazel import ROOT
from lib.problem import Problem


CORPORA = "fuzz/corpora"


@dataclasses.dataclass(frozen=True)
class Target:
    name: str
    max_len: int
    property: str  # what must hold, for a person


class Tool:
    def __init__(self, program):
        self.program = program

    def run(self, *arguments):
        result = subprocess.run([self.program, *arguments], cwd=ROOT, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, check=False, text=True, errors="replace")
        if result.returncode != 0:
            raise Problem(result.stderr.strip() or f"{self.program}: status {result.returncode}")
        return result.stdout

    def rows(self, command):
        return [line.split("\t") for line in self.run(command).splitlines()]

    def program_of(self, target, path):
        """The guest program that an input stands for, or nothing: reading it can be what crashes."""
        try:
            return self.run("program", target.name, path)
        except Problem:
            return ""

    def targets(self):
        return [Target(name, int(max_len), text) for name, max_len, text in self.rows("list")]

    def names(self):
        """{(kind, number): what the number stands for}."""
        return {(kind, int(number)): text for kind, number, text in self.rows("names")}

    def layout(self):
        """{name: (first, count)} of the numbers of struct Reached."""
        return {name: (int(first), int(count)) for name, first, count in self.rows("layout")}

    def dictionary(self, target):
        return self.run("dictionary", target.name)

    def write_seeds(self, target, folder):
        self.run("seeds", target.name, "lhv/suites", CORPORA, folder)

    def pack(self, target, folder, path):
        """Makes one file of a folder of inputs; what it says about those that it leaves out."""
        return self.run("pack", target.name, folder, path).strip().splitlines()

    def damaged(self, target, folder):
        """What is wrong with files of the folder that are no inputs."""
        result = subprocess.run([self.program, "damaged", target.name, folder], text=True, check=False,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if result.returncode not in (0, 1):
            raise Problem(result.stderr.strip())
        return result.stdout.strip().splitlines()


def choose(targets, name):
    for target in targets:
        if target.name == name:
            return target
    raise Problem(f"there is no target \"{name}\"; there are "
                  + ", ".join(target.name for target in targets))
