# SPDX-License-Identifier: Apache-2.0
"""The lines of the core that the inputs of campaigns reach."""

import os
import shutil
import subprocess
import tempfile

from lib.fuzzing.campaign import say
from lib.fuzzing.job import environment
from lib.line_coverage import ROOT, merge_profiles, read_counts
from lib.problem import Problem

TOOLS = ("llvm-profdata-19", "llvm-cov-19")
SOURCES = ("core/nested", "core/smp")


def check_tools():
    for tool in TOOLS:
        if not shutil.which(tool):
            raise Problem(f"{tool} is missing; scripts/setup installs it")


def report(corpora, program, out):
    """`corpora`: [(target, folders)]; `program` counts lines. Writes HTML; says the share for each
    source folder."""
    with tempfile.TemporaryDirectory(prefix="nvmx-coverage-") as folder:
        raw = []
        for target, folders in corpora:
            raw.append(os.path.join(folder, target.name))
            replay(target, program, folders, raw[-1], folder)
        merged = os.path.join(folder, "merged")
        merge_profiles(raw, merged)
        result = subprocess.run(["llvm-cov-19", "show", "-format=html", f"-instr-profile={merged}",
                                 f"-output-dir={out}", program, "-sources", *SOURCES], cwd=ROOT,
                                check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode != 0:
            raise Problem(f"{result.stdout}\nllvm-cov-19 failed")
        lines = read_counts([program], merged, SOURCES)
    for source in SOURCES:
        counts = [count for name in lines if name.startswith(source + "/")
                  for count in lines[name].values()]
        reached = sum(1 for count in counts if count)
        say(f"{source}: {reached} of {len(counts)} lines reached: "
            f"{100 * reached / max(len(counts), 1):.1f} %")
    say(f"the lines: {os.path.join(out, 'index.html')}")


def replay(target, program, folders, profile, scratch):
    """Runs each input. What it finds has been found before, and does not end it."""
    result = subprocess.run([program, "-runs=0", f"-max_len={target.max_len}", *folders], check=False,
                            env=dict(environment(target, scratch), LLVM_PROFILE_FILE=profile),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if not os.path.exists(profile):
        text = result.stdout.decode(errors="replace")
        raise Problem(f"{target.name}: no profile was written:\n" + "\n".join(text.splitlines()[-10:]))
