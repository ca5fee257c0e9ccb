# SPDX-License-Identifier: Apache-2.0
"""Reads the Test Anything Protocol, as "nvmx compare --tap" writes it."""

import dataclasses
import re

from lib.problem import Problem

LINE = re.compile(r"(ok|not ok) (\d+) - (.*?)(?: # (TODO|SKIP) (.*))?$")


@dataclasses.dataclass(frozen=True)
class Result:
    is_ok: bool
    name: str
    directive: str  # TODO of what is known to fail, SKIP of what could not be tried; or empty
    reason: str
    text: str  # the line, and the remarks behind it

    @property
    def is_bad(self):
        return not self.is_ok and self.directive != "TODO"


@dataclasses.dataclass
class Stream:
    results: list

    def count(self, directive):
        return sum(result.directive == directive for result in self.results)

    @property
    def bad(self):
        return [result for result in self.results if result.is_bad]

    def summary(self):
        total = len(self.results)
        skipped, known, bad = self.count("SKIP"), self.count("TODO"), len(self.bad)
        return (f"{total} programs: {total - known - bad} ok, {skipped} of them cannot be compared; "
                f"{known} known deviations, {bad} bad")


def read_tap(text):
    """The stream, which has as many results as its plan says, numbered from 1."""
    lines = text.splitlines()
    plan = re.fullmatch(r"1\.\.(\d+)", lines[0]) if lines else None
    if not plan:
        raise Problem(f"this is no TAP stream: {lines[0] if lines else 'nothing'}")
    results = []
    for line in lines[1:]:
        if line.startswith("#"):
            if results:
                last = results[-1]
                results[-1] = dataclasses.replace(last, text=f"{last.text}\n{line}")
            continue
        match = LINE.fullmatch(line)
        if not match or int(match.group(2)) != len(results) + 1:
            raise Problem(f"this is no line of a TAP stream, or out of turn: {line}")
        results.append(Result(match.group(1) == "ok", match.group(3), match.group(4) or "",
                              match.group(5) or "", line))
    if len(results) != int(plan.group(1)):
        raise Problem(f"the TAP stream has {len(results)} results, and its plan is {plan.group(1)}")
    return Stream(results)
