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
# Where files are in memory: what a file system on a disk takes for a new input is up to a sixth of an
# execution, and more right after files have been removed.
IN_MEMORY = "/dev/shm"


def folder_in_memory(prefix):
    usable = os.path.isdir(IN_MEMORY) and os.access(IN_MEMORY, os.W_OK)
    return tempfile.mkdtemp(prefix=prefix, dir=IN_MEMORY if usable else None)


def rates(targets, programs, tool, seconds):
    """`programs`: that of the targets, and the empty one. What a core does changes with what else the
    machine does, and by more than a target changes: so the empty one is measured anew before each."""
    say(f"{'target':<14} {'exec/s of CPU time':>20} {'exec/s':>12} {'MBytes':>8} {'empty: exec/s of CPU time':>26}")
    folder = folder_in_memory("nvmx-rates-")
    try:
        for target in targets:
            empty, _, _ = measure(EMPTY, [programs[1], f"-max_total_time={max(2, seconds // 5)}"], folder)
            campaign = Campaign(target, programs[0], tool, folder)
            cpu, wall, memory = measure(
                target, [programs[0], f"-max_total_time={seconds}", f"-dict={campaign.dictionary}",
                         *campaign.corpora()], folder)
            campaign.close()
            say(f"{target.name:<14} {cpu:>20,.0f} {wall:>12,.0f} {memory:>8} {empty:>26,.0f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(target, command, folder):
    """Executions per second of CPU time and of a clock, and the most memory in MBytes."""
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
    return runs / max(cpu, 0.001), runs / wall, memory[1]


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
