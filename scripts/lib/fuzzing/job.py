# SPDX-License-Identifier: Apache-2.0
"""One process that fuzzes a target."""

import dataclasses
import os
import re
import signal
import subprocess
import time

STATUS = re.compile(r"(?:cov: (\d+) )?ft: (\d+) corp: (\d+)/(\S+)")
PCS = re.compile(r"Loaded 1 PC tables \((\d+) PCs\)")
EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)")
# libFuzzer's own status of a process that SIGINT ended.
INTERRUPTED = 72
SANITIZERS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=0:symbolize=1",
    "ASAN_SYMBOLIZER_PATH": "/usr/bin/llvm-symbolizer-19",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "UBSAN_SYMBOLIZER_PATH": "/usr/bin/llvm-symbolizer-19",
}


def environment(target, finds=None, reached=None):
    """For a fuzzer of the target. Without `finds`, the first find ends it."""
    variables = dict(SANITIZERS, **os.environ)
    variables.pop("NVMX_FUZZ_FINDS", None)
    variables["NVMX_FUZZ_TARGET"] = target.name
    if finds:
        variables["NVMX_FUZZ_FINDS"] = finds
    if reached:
        variables["NVMX_FUZZ_REACHED"] = reached
    return variables


def flags(target, seed):
    """Those of libFuzzer that go with the target."""
    # Looking for others' inputs each second, as it would, takes a tenth of the time.
    return [f"-max_len={target.max_len}", "-len_control=0", "-use_counters=0", f"-seed={seed}",
            "-reload=10", "-rss_limit_mb=4096", "-print_final_stats=1"]


@dataclasses.dataclass
class Files:
    """Where a process writes."""
    finds: str
    reached: str
    log: str


class Job:
    def __init__(self, program, target, files, arguments, prefix=(), variables=None):
        """`arguments` are libFuzzer's; `prefix` comes before the command: nice, say. `variables` are
        added to the environment."""
        self.files = files
        self.explained, self.used, self.peak = False, 0, 0
        command = [*prefix, program, f"-artifact_prefix={files.finds}/crash-", *arguments]
        self.output = open(files.log, "wb")
        # A Ctrl-C is the script's to handle: it asks the processes to end.
        self.process = subprocess.Popen(command, stdout=self.output, stderr=subprocess.STDOUT,
                                        env=dict(environment(target, files.finds, files.reached),
                                                 **(variables or {})),
                                        start_new_session=True)

    def text(self):
        with open(self.files.log, "r", errors="replace", encoding="utf-8") as file:
            return file.read()

    def running(self):
        """Notes what the process has used when it has ended."""
        if self.process.returncode is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                self.used = usage.ru_utime + usage.ru_stime
                self.peak = usage.ru_maxrss * 1024
        return self.process.returncode is None

    def crashed(self):
        return not self.running() and self.process.returncode not in (0, INTERRUPTED)

    def is_fuzzers_word(self):
        """Whether what ended it is something that libFuzzer or a sanitizer tells."""
        return bool(re.search(r"ERROR: |deadly signal|libFuzzer: |runtime error: ", self.text()))

    def crash_file(self):
        written = re.search(r"Test unit written to (\S+)", self.text())
        return written[1] if written else None

    def status(self):
        """(edges, corpus inputs, all edges) as far as they are known."""
        text = self.text()
        pcs = PCS.search(text)
        last = None
        for last in STATUS.finditer(text):
            pass
        return (int(last[1] or 0) if last else 0, int(last[3]) if last else 0,
                int(pcs[1]) if pcs else 0)

    def memory(self):
        """Bytes resident now; the most that there ever were, when it has ended."""
        if not self.running():
            return self.peak
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self):
        if not self.running():
            return self.used
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii", errors="replace") as file:
            words = file.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def interrupt(self):
        if self.running():
            self.process.send_signal(signal.SIGINT)

    def end(self):
        self.interrupt()
        deadline = time.monotonic() + 20
        while self.running():
            if time.monotonic() > deadline:
                self.process.kill()
            time.sleep(0.01)
        self.output.close()
