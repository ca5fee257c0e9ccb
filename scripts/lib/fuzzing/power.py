# SPDX-License-Identifier: Apache-2.0
"""How soon the fuzzers, and nothing else, find one defect."""

import dataclasses
import os
import shutil
import tempfile
import time

from lib.fuzzing.campaign import NO_FIND, text_of_find
from lib.fuzzing.job import Files, Job, flags
from lib.fuzzing.planted import is_found
from lib.fuzzing.reached import Reached
from lib.planting import DoesNotBuild

# It does not run the core.
WITHOUT_CORE = ("assembler",)


@dataclasses.dataclass
class Result:
    mutant: str
    by: str  # "replay" of the seeds, "fuzzing", "compiler", or "" if nothing found it
    target: str = ""
    seconds: float = 0  # of CPU time
    executions: int = 0
    what: str = ""  # the first line about the find


class Seeds:
    """What the fuzzers begin with; the same for each defect."""

    def __init__(self, tool, folder, from_nothing):
        self.targets = [target for target in tool.targets() if target.name not in WITHOUT_CORE]
        self.layout = tool.layout()
        self.from_nothing = from_nothing
        self.folders, self.dictionaries = {}, {}
        for target in self.targets:
            seeds = os.path.join(folder, f"{target.name}-seeds")
            os.makedirs(seeds)
            if not from_nothing:
                tool.write_seeds(target, seeds)
            self.folders[target] = seeds
            self.dictionaries[target] = os.path.join(folder, f"{target.name}-dictionary")
            with open(self.dictionaries[target], "w", encoding="utf-8") as file:
                file.write(tool.dictionary(target))


class Trial:
    """One defect against all targets, on one core: all their processes together get `seconds` of its
    time."""

    def __init__(self, mutant, planter, seeds, seconds, core):
        self.mutant, self.planter, self.seeds, self.seconds = mutant, planter, seeds, seconds
        self.prefix = ("taskset", "--cpu-list", str(core))
        self.spent = 0
        self.jobs = []
        self.looked_at = set()

    def run(self):
        self.folder = tempfile.mkdtemp(prefix="nvmx-power-")
        try:
            self.program = self.planter.plant(self.mutant, self.folder)
            result = None if self.seeds.from_nothing else self.replay()
            return result or self.fuzz() or self.result("")
        except DoesNotBuild as error:
            if "static assertion failed" in str(error):
                return Result(self.mutant.mutant, "compiler", what="a static_assert")
            raise
        finally:
            for job in self.jobs:
                job.end()
            shutil.rmtree(self.folder, ignore_errors=True)

    def result(self, by, target="", what=""):
        reached = Reached(self.seeds.layout, [job.files.reached for job in self.jobs])
        return Result(self.mutant.mutant, by, target, round(self.spent, 1), reached.executions, what)

    def start(self, target, arguments):
        finds = os.path.join(self.folder, f"finds-{target.name}")
        os.makedirs(finds, exist_ok=True)
        number = len(self.jobs)
        files = Files(finds, f"{self.folder}/reached-{number}", f"{self.folder}/log-{number}")
        job = Job(self.program, target, files,
                  [*arguments, "-timeout=10", *flags(target, 1), "-rss_limit_mb=2048"], self.prefix)
        job.target, job.seconds = target, 0
        self.jobs.append(job)
        return job

    def watch(self, jobs):
        """Until one finds something, or all have ended, or the time is spent. (target, what)."""
        while True:
            ended = not any(job.running() for job in jobs)
            for job in jobs:
                seconds = job.cpu_seconds()
                self.spent += seconds - job.seconds
                job.seconds = seconds
            for job in jobs:
                what = self.look(job)
                if what:
                    return job.target.name, what
            if ended or self.spent >= self.seconds:
                return None
            time.sleep(0.05)

    def look(self, job):
        """What is new among its finds, by itself too, and not in the correct program."""
        for name in sorted(os.listdir(job.files.finds)):
            path = os.path.join(job.files.finds, name)
            if name.endswith(NO_FIND) or path in self.looked_at:
                continue
            text = text_of_find(path)
            if not text and (not name.startswith("crash-") or job.running()):
                continue  # it is being written
            self.looked_at.add(path)
            if (is_found(job.target, self.program, path)
                    and not is_found(job.target, self.planter.program, path)):
                return text[0] if text else self.ending(job)
        return None

    @staticmethod
    def ending(job):
        """What libFuzzer says of a process that a signal or a limit ended."""
        lines = [line for line in job.text().splitlines() if "ERROR: " in line]
        return lines[0].split("ERROR: ", 1)[1] if lines else "the process crashed"

    def replay(self):
        for target in self.seeds.targets:
            job = self.start(target, ["-runs=0", self.seeds.folders[target]])
            found = self.watch([job])
            job.end()
            if found:
                return self.result("replay", *found)
        return None

    def fuzz(self):
        jobs = []
        for target in self.seeds.targets:
            corpus = os.path.join(self.folder, f"corpus-{target.name}")
            os.makedirs(corpus)
            jobs.append(self.start(target, [corpus, self.seeds.folders[target],
                                            f"-dict={self.seeds.dictionaries[target]}"]))
        found = self.watch(jobs)
        for job in jobs:
            job.interrupt()
        return self.result("fuzzing", *found) if found else None
