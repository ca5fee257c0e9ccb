#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Guest programs on Bochs, natively and under nvmx, on one CPU and on two, for x86-64 and for i386; some
that are made up, natively; and what nvmx says on a machine without VMX."""

import concurrent.futures
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Quick ones, and programs that showed what was wrong on metal alone.
SUITES = ("nmi", "classics", "vmcs-shadowing")
PROGRAMS = ("msr-lists/abort-load-of-fs-base", "msr-lists/long-lists-on-every-cpu",
            "vmx-instructions/operand-faults")
# CPU 0 shuts down, and the others go on.
SHUTDOWN = "msr-lists/abort-load-of-fs-base"
GENERATED = 40


def run(script, *arguments):
    command = [os.path.join(ROOT, "scripts", script), *arguments, "--binaries", ROOT]
    result = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace")
    print(f"{script} {' '.join(arguments)}: status {result.returncode}\n{result.stdout}", flush=True)
    return result


def run_programs(mode, cpus, *archs):
    names = [*SUITES, *(f"{program}.yaml" for program in PROGRAMS)]
    suites = [word for name in names for word in ("--suite", name)]
    return run("bochs", mode, "--cpus", str(cpus), "--timeout", "600", *archs, *suites)


def setUpModule():
    """Starts everything, two machines at a time: each test waits for its own."""
    pool = concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1))
    unittest.addModuleCleanup(pool.shutdown)
    for cpus in (2, 1):
        for mode in ("nested", "native"):
            Bochs.runs[mode, cpus] = pool.submit(run_programs, mode, cpus)
    Generated.runs["native"] = pool.submit(run, "machines", "--generate", str(GENERATED), "--machines",
                                           "bochs-native")
    for run_of_i386 in (("nested", 2, "--arch", "i386"), ("nested", 2, "--l1-arch", "i386"),
                        ("native", 1, "--arch", "i386")):
        Bochs.runs[run_of_i386] = pool.submit(run_programs, *run_of_i386)
    Shutdown.runs["nested"] = pool.submit(run, "bochs", "nested", "--cpus", "3", "--suite", f"{SHUTDOWN}.yaml")
    for mode in ("native", "nested"):
        Qemu.runs[mode] = pool.submit(run, "qemu", mode, "--suite", "nmi", "--timeout", "300")


class Generated(unittest.TestCase):
    runs = {}

    def test_most_are_the_same_and_the_others_explained(self):
        result = self.runs["native"].result()
        self.assertEqual(result.returncode, 0)
        same = re.search(r"^bochs-native: (\d+) same", result.stdout, re.MULTILINE)
        self.assertGreater(int(same.group(1)), GENERATED // 2)


class Bochs(unittest.TestCase):
    runs = {}

    def expect_calibrated(self, mode, cpus, *archs):
        result = self.runs[(mode, cpus, *archs)].result()
        self.assertEqual(result.returncode, 0)
        programs = len(PROGRAMS) + sum(name.endswith(".yaml") for suite in SUITES
                                       for name in os.listdir(os.path.join(ROOT, "lhv/suites", suite)))
        self.assertIn(f"{mode}, {cpus} CPU{'s' if cpus > 1 else ''}: {programs} programs", result.stdout)
        self.assertIn(" 0 bad", result.stdout)

    def test_native_on_one_cpu(self):
        self.expect_calibrated("native", 1)

    def test_native_on_two_cpus(self):
        self.expect_calibrated("native", 2)

    def test_nested_on_one_cpu(self):
        self.expect_calibrated("nested", 1)

    def test_nested_on_two_cpus(self):
        self.expect_calibrated("nested", 2)

    def test_i386_native(self):
        self.expect_calibrated("native", 1, "--arch", "i386")

    def test_i386_nested_on_two_cpus(self):
        self.expect_calibrated("nested", 2, "--arch", "i386")

    def test_i386_under_x86_64_on_two_cpus(self):
        self.expect_calibrated("nested", 2, "--l1-arch", "i386")


class Shutdown(unittest.TestCase):
    runs = {}

    def test_all_other_cpus_say_what_they_saw(self):
        result = self.runs["nested"].result()
        self.assertEqual(result.returncode, 0)
        self.assertIn(" 1 ok", result.stdout)


class Qemu(unittest.TestCase):
    runs = {}

    def test_without_vmx_there_is_a_message_and_a_status(self):
        for mode in ("native", "nested"):
            result = self.runs[mode].result()
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stdout, "stop: this (CPU|processor) has no VMX")


if __name__ == "__main__":
    sys.exit(unittest.main())
