# SPDX-License-Identifier: Apache-2.0
"""Programs with a defect: the few files that it changes are compiled again, and all is linked again.

The commands are those that Bazel has built the program with. Neither the tree nor what Bazel built
changes."""

import os
import re
import subprocess

from lib.bazel import ROOT
from lib.mutants import read_text
from lib.problem import Problem


class DoesNotBuild(Problem):
    """What the compiler says about a defect. A static_assert can be what notices it."""


class Planter:
    """For one program, which has been built."""

    def __init__(self, bazel, label, config, prefix=()):
        """`prefix` comes before each command: nice, say."""
        self.program = bazel.build(label, config)
        self.execroot = os.path.realpath(self.program).split("/bazel-out/")[0]
        self.prefix = list(prefix)
        self.compilers = {}
        for command in bazel.actions(f'mnemonic("CppCompile", deps({label}))', config):
            if "-c" in command and "-o" in command:
                self.compilers[command[command.index("-c") + 1]] = command
        self.link = self.command_of_link(bazel, label, config)
        self.included = {}

    def command_of_link(self, bazel, label, config):
        output = os.path.realpath(self.program)[len(self.execroot) + 1:]
        for command in bazel.actions(f'mnemonic("CppLink", {label})', config):
            if "-o" in command and command[command.index("-o") + 1] == output:
                # The words are all there; what follows says them again, as a file.
                return [word for word in command if not word.startswith("@")]
        raise Problem(f"bazel aquery does not say how {label} is linked")

    def includes(self, name):
        """The project's files that this one includes."""
        if name not in self.included:
            path = os.path.join(ROOT, name)
            self.included[name] = ()
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    self.included[name] = re.findall(r'^\s*#\s*include "([^"]+)"', file.read(), re.M)
        return self.included[name]

    def depends(self, source, name):
        """Whether the source is that file or includes it, over any number of others."""
        seen, todo = set(), [source]
        while todo:
            here = todo.pop()
            if here == name:
                return True
            if here not in seen:
                seen.add(here)
                todo.extend(self.includes(here))
        return False

    def plant(self, mutant, folder):
        """Makes the program with the defect in the folder, which exists; returns its path."""
        text = mutant.apply(read_text(ROOT, mutant.file, mutant))
        changed = os.path.join(folder, mutant.file)
        os.makedirs(os.path.dirname(changed), exist_ok=True)
        with open(changed, "w", encoding="utf-8") as file:
            file.write(text)
        objects = {}
        for source, command in self.compilers.items():
            if self.depends(source, mutant.file):
                place = command.index("-o") + 1
                objects[command[place]] = self.compile(command, source, mutant, folder, len(objects))
        program = os.path.join(folder, os.path.basename(self.program))
        link = [objects.get(word, word) for word in self.link]
        if not objects or not set(objects.values()) & set(link):
            raise Problem(f"{mutant.where}: {self.program} does not have {mutant.file} in it")
        link[link.index("-o") + 1] = program
        answers = os.path.join(folder, "link.params")
        with open(answers, "w", encoding="utf-8") as file:
            file.write("\n".join(link[1:]) + "\n")
        self.run([link[0], f"@{answers}"], mutant)
        return program

    def compile(self, command, source, mutant, folder, number):
        result = os.path.join(folder, f"changed-{number}.o")
        command = list(command)
        command[command.index("-o") + 1] = result
        if "-MF" in command:
            command[command.index("-MF") + 1] = result + ".d"
        if source == mutant.file:
            command[command.index("-c") + 1] = os.path.join(folder, source)
        # What is changed is found before what Bazel would find.
        command[1:1] = ["-iquote", folder]
        self.run(command, mutant)
        return result

    def run(self, command, mutant):
        result = subprocess.run([*self.prefix, *command], cwd=self.execroot, check=False,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode != 0:
            raise DoesNotBuild(f"{result.stdout}\nmutant {mutant.mutant} does not build")
