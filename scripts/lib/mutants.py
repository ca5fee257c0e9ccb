# SPDX-License-Identifier: Apache-2.0
"""The defects of fuzz/mutants/mutants.txt: reading them, and putting one into a text."""

import os

from lib.problem import Problem

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = "fuzz/mutants/mutants.txt"
KEYS = ("mutant", "file", "breaks", "unseen", "ask")
NEEDED_KEYS = ("mutant", "file", "breaks")


class Mutant:
    """One defect: lines of a file, and what they become."""

    def __init__(self, where):
        self.where = where
        self.mutant = self.file = self.breaks = self.unseen = self.ask = None
        self.before = []
        self.after = []

    def check(self):
        for key in NEEDED_KEYS:
            if not getattr(self, key):
                raise Problem(f"{self.where}: mutant {self.mutant or '?'} lacks \"{key}:\"")
        if not self.before:
            raise Problem(f"{self.where}: mutant {self.mutant} replaces no line")
        if [line.split() for line in self.before] == [line.split() for line in self.after]:
            raise Problem(f"{self.where}: mutant {self.mutant} changes nothing")

    def apply(self, text):
        """The text with the defect in it. Indentation does not count, and is kept."""
        lines = text.split("\n")
        words = [line.split() for line in lines]
        wanted = [line.split() for line in self.before]
        count = len(wanted)
        places = [n for n in range(len(lines) - count + 1) if words[n:n + count] == wanted]
        if len(places) != 1:
            raise Problem(f"{self.where}: mutant {self.mutant} does not apply: {self.file} has its "
                        f"lines {len(places)} times instead of once:\n  " + "\n  ".join(self.before))
        first = lines[places[0]]
        indentation = first[:len(first) - len(first.lstrip())]
        lines[places[0]:places[0] + count] = [indentation + line for line in self.after]
        return "\n".join(lines)


def read_mutants(path):
    """The mutants of a file whose format is described at its head."""
    mutants, current = [], None
    with open(path, encoding="utf-8") as file:
        rows = file.read().split("\n")
    for number, row in enumerate(rows, 1):
        where = f"{os.path.relpath(path, ROOT)}:{number}"
        if not row.strip() or row.startswith("#"):
            continue
        if row[0] in "-+":
            if current is None:
                raise Problem(f"{where}: a line of no mutant")
            if row[0] == "-" and current.after:
                raise Problem(f"{where}: mutant {current.mutant}: \"-\" lines come before \"+\" lines")
            (current.before if row[0] == "-" else current.after).append(row[1:].strip())
            continue
        key, colon, value = row.partition(":")
        if not colon or key not in KEYS:
            raise Problem(f"{where}: neither one of {', '.join(KEYS)} nor a line with - or +")
        if key == "mutant":
            current = Mutant(where)
            mutants.append(current)
        elif current is None:
            raise Problem(f"{where}: \"{key}:\" of no mutant")
        if getattr(current, key):
            raise Problem(f"{where}: mutant {current.mutant}: \"{key}:\" twice")
        setattr(current, key, value.strip())
    seen = set()
    for mutant in mutants:
        mutant.check()
        if mutant.mutant in seen:
            raise Problem(f"{mutant.where}: another mutant is called {mutant.mutant} too")
        seen.add(mutant.mutant)
    if not mutants:
        raise Problem(f"{path}: no mutants")
    return mutants


def read_text(directory, name, mutant):
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise Problem(f"{mutant.where}: mutant {mutant.mutant}: {error}") from error


def check_mutants(mutants):
    """That each applies to this tree; all that do not are told at once."""
    errors = []
    for mutant in mutants:
        try:
            mutant.apply(read_text(ROOT, mutant.file, mutant))
        except Problem as error:
            errors.append(str(error))
    if errors:
        raise Problem("\n".join(errors))


def select(mutants, only):
    if not only:
        return mutants
    unknown = set(only) - {mutant.mutant for mutant in mutants}
    if unknown:
        raise Problem(f"there is no mutant {', '.join(sorted(unknown))}")
    return [mutant for mutant in mutants if mutant.mutant in only]
