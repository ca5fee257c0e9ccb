# SPDX-License-Identifier: Apache-2.0
"""Fuzzing one target with some processes: what they are given, what they say, what they find."""

import os
import shutil
import tempfile
import time

from lib.fuzzing.folders import check_folder, check_inputs, has_room
from lib.fuzzing.job import Files, Job, flags
from lib.fuzzing.reached import Reached
from lib.problem import Problem

REPORT_SECONDS = 10
MOST_RESTARTS = 8
NO_FIND = (".yaml", ".txt", ".schedule")  # what is written beside a find


def say(text):
    print(text, flush=True)


class Campaign:
    """The folder of a target holds its corpus, its finds, and what is made for the processes."""

    def __init__(self, target, program, tool, corpus, seconds=0, seed=1, executions=0,
                 stop_at_find=False):
        """Until `seconds` are over, or each process has made that many executions beside those of the
        inputs that it begins with. 0: until it is ended."""
        self.target, self.program, self.tool = target, program, tool
        self.seconds, self.seed, self.executions = seconds, seed, executions
        self.stop_at_find = stop_at_find
        self.folder = os.path.join(corpus, target.name)
        self.finds = os.path.join(self.folder, "finds")
        self.inputs = os.path.join(self.folder, "corpus")
        for path in (self.folder, self.inputs, self.finds):
            check_folder(path)
        check_inputs(tool, target, self.inputs)
        self.seeds = os.path.join(self.folder, "seeds")
        shutil.rmtree(self.seeds, ignore_errors=True)
        os.makedirs(self.seeds)
        tool.write_seeds(target, self.seeds)
        self.dictionary = os.path.join(self.folder, "dictionary")
        with open(self.dictionary, "w", encoding="utf-8") as file:
            file.write(tool.dictionary(target))
        self.layout = tool.layout()
        self.files = tempfile.mkdtemp(prefix="nvmx-fuzz-")
        self.jobs = []
        self.before = set(os.listdir(self.finds))
        self.begin = time.time()

    def corpora(self):
        return [self.inputs, self.seeds]

    def start(self, count):
        self.begin = time.time()
        for _ in range(count):
            self.start_job()

    def start_job(self):
        number = len(self.jobs)
        arguments = [*self.corpora(), f"-dict={self.dictionary}", "-timeout=20",
                     *flags(self.target, self.seed + number)]
        if self.seconds:
            left = int(self.begin + self.seconds + 1 - time.time())
            if left < 1:
                return
            arguments.append(f"-max_total_time={left}")
        if self.executions:
            given = sum(len(os.listdir(folder)) for folder in self.corpora())
            arguments.append(f"-runs={given + self.executions}")
        self.jobs.append(Job(self.program, self.target,
                             Files(self.finds, f"{self.files}/reached-{number}",
                                   f"{self.files}/log-{number}"), arguments))

    def new_finds(self):
        return sorted(name for name in os.listdir(self.finds)
                      if name not in self.before and not name.endswith(NO_FIND))

    def reached(self):
        return Reached(self.layout, [job.files.reached for job in self.jobs])

    def states(self):
        """(edges, corpus inputs, all edges): of the process that has most."""
        return [max(column) for column in zip(*(job.status() for job in self.jobs))] or [0, 0, 0]

    def covers_core(self):
        return self.target.name not in ("assembler", "schedule")

    def line(self, last):
        reached = self.reached()
        now = time.time()
        rate = (reached.executions - last[1]) / max(now - last[0], 0.001)
        edges, inputs, every = self.states()
        coverage = f"{100 * edges / every:.1f} % of core" if every and self.covers_core() else "-"
        checks = f", {reached.kinds('rules')} checks" if self.target.name == "vmcs12_entry" else ""
        say(f"{now - self.begin:6.0f} s  {self.target.name}: {rate:8,.0f} exec/s  {coverage}  "
            f"{inputs} inputs  {reached.kinds('exits')} exits, {reached.kinds('failures')} kinds of "
            f"entry failure, {reached.kinds('vmfails')} VMfails{checks}  "
            f"{len(self.new_finds())} finds")
        return now, reached.executions

    def run(self):
        """Until all processes have ended. A process that a crash ended is started again."""
        last = (self.begin, 0)
        restarts = 0
        while any(job.running() for job in self.jobs):
            time.sleep(0.2)
            for job in [job for job in self.jobs if job.crashed() and not job.explained]:
                self.explain_end(job)
                restarts += 1
                if restarts <= MOST_RESTARTS:
                    self.start_job()
            if time.time() - last[0] >= REPORT_SECONDS:
                last = self.line(last)
                if not has_room(self.folder):
                    self.end()
                    raise Problem(f"{self.folder}: no space left on its disk")
            if self.stop_at_find and self.new_finds():
                break
        self.end()
        for job in self.jobs:
            if job.crashed() and not job.explained:
                self.explain_end(job)

    def explain_end(self, job):
        job.explained = True
        text = job.text()
        if not has_room(self.folder):
            self.end()
            raise Problem(f"{self.folder}: no space left on its disk")
        if not job.is_fuzzers_word():
            self.end()
            raise Problem(f"{self.target.name}: a process ended with status {job.process.returncode}:\n"
                          + "\n".join(text.splitlines()[-15:]))
        crash = job.crash_file()
        say(f"{self.target.name}: a process crashed" + (f": {crash}" if crash else ""))
        if crash:
            with open(crash + ".txt", "w", encoding="utf-8") as file:
                file.write(text[-20000:])
            program = self.tool.program_of(self.target, crash)
            if program:
                with open(crash + ".yaml", "w", encoding="utf-8") as file:
                    file.write(program)

    def end(self):
        for job in self.jobs:
            job.interrupt()
        for job in self.jobs:
            job.end()

    def close(self):
        """Behind the last question."""
        shutil.rmtree(self.files, ignore_errors=True)


def text_of_find(path):
    """What is written beside a find for a person."""
    for candidate in (os.path.splitext(path)[0] + ".txt", path + ".txt"):
        if os.path.exists(candidate):
            with open(candidate, encoding="utf-8", errors="replace") as file:
                return file.read().strip().splitlines()
    return []


def summary(campaign, names):
    """Says what a campaign came to; returns how many finds there are."""
    reached = campaign.reached()
    seconds = max(time.time() - campaign.begin, 0.001)
    edges, inputs, every = campaign.states()
    say(f"\n{campaign.target.name}: {campaign.target.property}")
    say(f"  {reached.executions:,} executions in {seconds:.0f} s by {len(campaign.jobs)} processes, "
        f"{reached.executions / seconds:,.0f} exec/s; {reached.invalid:,} were no inputs")
    if every and campaign.covers_core():
        say(f"  {edges} of {every} edges of core/nested and core/smp: {100 * edges / every:.1f} %")
    say(f"  {inputs} inputs; {len(os.listdir(campaign.inputs))} are kept in {campaign.inputs}")
    for array, title in (("exits", "VM exits"), ("failures", "VM-entry failures")):
        kinds = [names.get(("exit", number), str(number))
                 for number, count in enumerate(getattr(reached, array)) if count]
        if kinds:
            say(f"  {title} reached: {', '.join(kinds)}")
    if campaign.target.name == "vmcs12_entry":
        say_checks(reached, names)
    for counter, what in (("ambiguous", "depended on stale translations"),
                          ("declared", "showed a declared difference"),
                          ("left_open", "showed a difference that the manual leaves open"),
                          ("unconfirmed", "differed on the bench and not as guest programs")):
        count = getattr(reached, counter, 0)
        if count:
            say(f"  {count:,} executions {what}")
    finds = campaign.new_finds()
    for find in finds:
        path = os.path.join(campaign.finds, find)
        say(f"  FOUND {path}")
        lines = text_of_find(path)
        if lines:
            say("    " + "\n    ".join(lines[:14]))
    if not finds:
        say("  nothing was found")
    return len(finds)


def say_checks(reached, names):
    every = [number for kind, number in names if kind == "rule" and number]
    missed = [names["rule", number] for number in every if not reached.rules[number]]
    say(f"  {len(every) - len(missed)} of {len(every)} checks of VM entry were the first to fail; not: "
        f"{', '.join(missed[:12])}{' ...' if len(missed) > 12 else ''}")
