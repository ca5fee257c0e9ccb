# SPDX-License-Identifier: Apache-2.0
"""Whether the run of an image that ends by itself is one with which all is well."""

import re

from lib.problem import Problem

END = re.compile(r"end of run, status (\d+)")


def why_bad(run, limits, expected):
    """Why all is not well; empty if it is."""
    ends = END.findall(run.output)
    if not ends:
        if run.timed_out:
            return f"no end after {limits.seconds:g} s; the last lines of COM1 are above"
        if run.fell_silent:
            return f"no output for {limits.silence:g} s of its processor time; the last lines of COM1 are above"
        return f"the emulator ended (status {run.status}) before the image did"
    if expected and expected not in run.output:
        return f"\"{expected}\" is not in the output"
    if ends[-1] != "0":
        return f"the image ends with status {ends[-1]}"
    return ""


def check_output(run, emulator):
    """Raises a Problem if the machine has not even written something."""
    if run.output:
        return
    why = emulator.why_it_gave_up(run.log) or "\n".join(run.screen.splitlines()[-5:])
    raise Problem(f"nothing came out of COM1 (status {run.status}): {why}")
