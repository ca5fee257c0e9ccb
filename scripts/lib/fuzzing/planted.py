# SPDX-License-Identifier: Apache-2.0
"""Fuzzing a core with a defect of fuzz/mutants/mutants.txt in it: it must be found."""

import os
import subprocess
import tempfile
import time

from lib.fuzzing.campaign import Campaign, say, text_of_find
from lib.fuzzing.folders import check_folder
from lib.fuzzing.job import environment
from lib.fuzzing.tool import choose
from lib.mutants import DATA, ROOT, read_mutants
from lib.problem import Problem

SELF_CHECK = (  # target, mutant
    ("schedule", "nmi-exit-acknowledged-late"),
    ("msr_list", "msr-list-reserved-bits"),
    ("msr_list", "msr-list-fs-base"),
    ("ept12", "ept-write-only"),
    ("vmcs12_entry", "rule-guest-rflags-if"),
    ("vmx_sequence", "vmread-of-field-not-offered"),
)


def mutant_of(name):
    for mutant in read_mutants(os.path.join(ROOT, DATA)):
        if mutant.mutant == name:
            return mutant
    raise Problem(f"there is no mutant {name}; scripts/mutants --list names them")


def plant(name, planter, corpus):
    """(the program with the defect, the folder of its corpora): kept apart from those of the real
    core."""
    mutant = mutant_of(name)
    say(f"planted: {name}, which breaks {mutant.breaks}\n  in {mutant.file}")
    for sign, lines in (("-", mutant.before), ("+", mutant.after)):
        for line in lines:
            say(f"  {sign} {line}")
    folder = os.path.join(corpus, f"planted-{name}")
    build = os.path.join(folder, "build")
    check_folder(build)
    return planter.plant(mutant, build), folder


def self_check(planter, tool, jobs, seconds, seed):
    """Whether each defect is found, and what is right not blamed for it."""
    targets = tool.targets()
    missed = 0
    for target_name, mutant_name in SELF_CHECK:
        target, mutant = choose(targets, target_name), mutant_of(mutant_name)
        with tempfile.TemporaryDirectory(prefix="nvmx-planted-") as folder:
            program = planter.plant(mutant, folder)
            campaign = Campaign(target, program, tool, folder, seconds, seed)
            campaign.start(jobs)
            try:
                found = wait_for_find(campaign, planter.program)
                taken = time.time() - campaign.begin
            finally:
                campaign.end()
            count = campaign.reached().executions
            campaign.close()
            missed += not found
            say(f"{'found ' if found else 'MISSED'}  {target.name:<13} {taken:5.1f} s, {count:,} "
                f"executions: {mutant.mutant}" + (f"\n        {found}" if found else ""))
    say(f"{len(SELF_CHECK) - missed} of {len(SELF_CHECK)} planted defects were found")
    return missed == 0


def wait_for_find(campaign, correct):
    """The first line about the first find that the correct program does not have; None if there is
    none before the processes end."""
    looked_at = set()
    while True:
        ended = not any(job.running() for job in campaign.jobs)
        for find in campaign.new_finds():
            path = os.path.join(campaign.finds, find)
            if find in looked_at or not (text_of_find(path) or find.startswith("crash-")):
                continue
            looked_at.add(find)
            if not is_found(campaign.target, correct, path):
                return (text_of_find(path) or [find])[0]
        if ended:
            return None
        time.sleep(0.1)


def is_found(target, program, path):
    """Whether the program finds something in that input. An input without an end is one; by itself
    libFuzzer would wait for twenty minutes."""
    return subprocess.run([program, f"-max_len={target.max_len}", "-timeout=10", path],
                          env=environment(target), stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode != 0
