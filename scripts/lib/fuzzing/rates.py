# SPDX-License-Identifier: Apache-2.0
"""How fast each target is on one core, beside one that does nothing; and whether its memory grows."""

import os
import re
import shutil
import subprocess
import tempfile
import time

from lib.fuzzing.campaign import Campaign, say
from lib.fuzzing.job import EXECUTED, Files, Job, environment, flags
from lib.fuzzing.reached import Reached
from lib.fuzzing.tool import Target
from lib.problem import Problem

EMPTY = Target("empty", 4096, "")


def rates(targets, programs, tool, seconds):
    """`programs`: that of the targets, and the empty one."""
    say(f"{'target':<14} {'exec/s of CPU time':>20} {'exec/s':>12} {'MBytes':>8}")
    folder = tempfile.mkdtemp(prefix="nvmx-rates-")
    try:
        rate_of(EMPTY, [programs[1], f"-max_total_time={max(2, seconds // 3)}"], folder)
        for target in targets:
            campaign = Campaign(target, programs[0], tool, folder)
            rate_of(target, [programs[0], f"-max_total_time={seconds}",
                             f"-dict={campaign.dictionary}", *campaign.corpora()], folder)
            campaign.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rate_of(target, command, folder):
    command = [*command, *flags(target, 1), "-verbosity=0"]
    begin, before = time.time(), os.times()
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace", env=environment(target, folder), check=False)
    wall, after = time.time() - begin, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    text = result.stdout
    count = EXECUTED.search(text)
    memory = re.search(r"stat::peak_rss_mb:\s+(\d+)", text)
    if result.returncode != 0 or not count:
        raise Problem(f"{target.name}: ended with status {result.returncode}:\n"
                      + "\n".join(text.splitlines()[-10:]))
    runs = int(count[1])
    say(f"{target.name:<14} {runs / max(cpu, 0.001):>20,.0f} {runs / wall:>12,.0f} {memory[1]:>8}")


SOAK_STEPS = 10


def soak(target, program, tool, executions):
    """Says how much memory one process has at each tenth of the way. It keeps new inputs in the first tenth
    alone, since their number has no limit: then nothing may grow. False if it has, by more than a hundredth."""
    folder = tempfile.mkdtemp(prefix="nvmx-soak-")
    campaign = Campaign(target, program, tool, folder)
    step = executions // SOAK_STEPS
    job = Job(program, target, Files(campaign.finds, f"{folder}/reached", f"{folder}/log"),
              [*campaign.corpora(), f"-dict={campaign.dictionary}", f"-runs={executions}",
               *flags(target, 1)], variables={"NVMX_FUZZ_KEEP": str(step)})
    sizes = []
    try:
        while job.running() and len(sizes) < SOAK_STEPS:
            time.sleep(0.1)
            done = Reached(campaign.layout, [job.files.reached]).executions
            if done >= step * (len(sizes) + 1):
                sizes.append(job.memory())
                say(f"{done:>12,} executions: {sizes[-1] / (1 << 20):8.2f} MBytes resident, "
                    f"{job.status()[1]} inputs in memory")
        job.end()
        if len(sizes) < SOAK_STEPS - 1:
            raise Problem(f"{target.name}: the process ended early:\n"
                          + "\n".join(job.text().splitlines()[-10:]))
    finally:
        job.end()
        campaign.close()
        shutil.rmtree(folder, ignore_errors=True)
    growth = sizes[-1] / sizes[0] - 1
    say(f"{target.name}: {100 * growth:+.2f} % from the first tenth to the last")
    return growth <= 0.01
