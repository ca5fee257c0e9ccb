# SPDX-License-Identifier: Apache-2.0
"""Which paths the targets take, written down for the compiler: fuzz/hot_paths."""

import os
import subprocess
import tempfile

from lib.bazel import ROOT
from lib.fuzzing.campaign import Campaign, say
from lib.fuzzing.job import environment, flags
from lib.line_coverage import merge_profiles
from lib.problem import Problem

PROFILE = "fuzz/hot_paths/any_fuzzer.proftext"
# Beside the seeds. The profile of more is no other.
EXECUTIONS = 50_000


def write_hot_paths(targets, program, tool):
    """`program` counts where it goes. Fuzzes each target a little, from what the sources hold alone."""
    with tempfile.TemporaryDirectory(prefix="nvmx-profile-") as folder:
        raw = []
        for target in targets:
            campaign = Campaign(target, program, tool, folder)
            raw.append(os.path.join(folder, f"{target.name}.raw"))
            result = subprocess.run(
                [program, f"-runs={EXECUTIONS}", f"-dict={campaign.dictionary}", *flags(target, 1),
                 *campaign.corpora()], env=dict(environment(target, campaign.finds), LLVM_PROFILE_FILE=raw[-1]),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            campaign.close()
            if result.returncode != 0 or not os.path.exists(raw[-1]):
                text = result.stdout.decode(errors="replace")
                raise Problem(f"{target.name}: no profile was written:\n"
                              + "\n".join(text.splitlines()[-10:]))
            say(f"{target.name}: {EXECUTIONS:,} executions")
        path = os.path.join(ROOT, PROFILE)
        merge_profiles(raw, path, "-text")
    say(f"{os.path.getsize(path) >> 10} KBytes in {PROFILE}")
