# SPDX-License-Identifier: Apache-2.0
"""The corpora that are kept with the sources, made anew of all inputs that there are."""

import os
import subprocess
import tempfile

from lib.bazel import ROOT
from lib.fuzzing.campaign import Campaign, say
from lib.fuzzing.job import environment, flags
from lib.fuzzing.tool import CORPORA
from lib.problem import Problem

MOST_BYTES = 300_000  # of a file


def drop_largest(folder):
    """Leaves the smallest inputs, as far as a file of MOST_BYTES reaches; how many it drops."""
    files = sorted((entry.stat().st_size, entry.path) for entry in os.scandir(folder))
    total = dropped = 0
    for size, path in files:
        total += (size + 2) // 3 * 4 + 1  # a line in base64
        if total > MOST_BYTES:
            os.remove(path)
            dropped += 1
    return dropped


def minimize(target, program, tool, corpus):
    """Writes the target's file of fuzz/corpora: the smallest inputs that reach together what those
    of the suites, of the file itself and of the user's corpus reach."""
    campaign = Campaign(target, program, tool, corpus)
    campaign.close()
    path = os.path.join(CORPORA, f"{target.name}.corpus")
    with tempfile.TemporaryDirectory(prefix="nvmx-merge-") as folder:
        merged, finds = os.path.join(folder, "merged"), os.path.join(folder, "finds")
        os.makedirs(merged)
        os.makedirs(finds)
        result = subprocess.run([program, "-merge=1", *flags(target, 1), "-artifact_prefix=" + finds + "/",
                                 merged, *campaign.corpora()], env=environment(target, finds),
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if result.returncode != 0:
            text = result.stdout.decode(errors="replace")
            raise Problem(f"{target.name}: merging failed:\n" + "\n".join(text.splitlines()[-10:]))
        dropped = drop_largest(merged)
        for line in tool.pack(target, merged, path):
            say(f"  {line}")
        before = sum(len(os.listdir(one)) for one in campaign.corpora())
        say(f"{target.name}: {len(os.listdir(merged))} of {before} inputs, "
            f"{os.path.getsize(os.path.join(ROOT, path)) >> 10} KBytes in {path}"
            + (f"; {dropped} larger ones are left out" if dropped else ""))
