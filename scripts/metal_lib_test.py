#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What scripts/bochs and scripts/qemu are made of, without a machine."""

import os
import signal
import sys
import unittest

sys.dont_write_bytecode = True
sys.path[0] = os.path.dirname(os.path.abspath(__file__))
from lib.metal.calibration import BadRun, Binaries, Calibration, find_programs, whole_lines  # noqa: E402
from lib.metal.emulator import Emulator, Limits, Machine, Run  # noqa: E402
from lib.metal.judge import check_output, why_bad  # noqa: E402
from lib.metal.tap import read_tap  # noqa: E402
from lib.problem import Problem  # noqa: E402


class Shell(Emulator):
    """Commands of a shell in place of a machine."""
    name = "shell"

    def __init__(self, commands, cpus=1):
        self.commands = commands
        self.machine = Machine(cpus, 64)

    def command(self, iso, folder):
        return ["sh", "-c", self.commands]

    def why_it_gave_up(self, log):
        return log.strip()


class EmulatorTest(unittest.TestCase):
    def test_output_is_shown_and_kept(self):
        shown = []
        run = Shell("printf 'a\\r\\nb\\n' >> serial; echo words > log; exit 3").run(
            "cd.iso", Limits(30), shown.append)
        self.assertEqual(run.output, "a\nb\n")
        self.assertEqual("".join(shown), "a\nb\n")
        self.assertEqual((run.status, run.log), (3, "words\n"))
        self.assertFalse(run.timed_out or run.fell_silent)

    def test_the_terminal_is_drained(self):
        # More than a pseudo-terminal holds.
        run = Shell("head -c 200000 /dev/zero | tr '\\0' x; echo end >> serial").run(
            "cd.iso", Limits(30))
        self.assertEqual(run.output, "end\n")
        self.assertTrue(run.screen.endswith("x"))

    def test_a_person_at_its_terminal_is_heard_and_told(self):
        typed, types = os.pipe()
        told, tells = os.pipe()
        os.write(types, b"go on\n")
        os.close(types)
        shell = Shell("read line; echo $line >> serial; echo well")
        shell.person = (typed, tells)
        self.addCleanup(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        self.assertEqual(shell.run("cd.iso", Limits(30)).output, "go on\n")
        os.close(tells)
        with open(told, "rb") as file:
            self.assertEqual(file.read(), b"well\r\n")
        os.close(typed)

    def test_a_time_limit_ends_it(self):
        run = Shell("echo first >> serial; sleep 60").run("cd.iso", Limits(0.5))
        self.assertTrue(run.timed_out)
        self.assertEqual(run.output, "first\n")

    def test_silence_counts_in_processor_time(self):
        loop = "while :; do :; done"
        run = Shell(f"echo first >> serial; {loop}").run("cd.iso", Limits(60, 0.5))
        self.assertTrue(run.fell_silent)
        self.assertGreaterEqual(run.cpu_seconds, 0.5)
        run = Shell("echo first >> serial; sleep 2").run("cd.iso", Limits(60, 0.5))
        self.assertFalse(run.fell_silent)

    def test_a_machine_that_boots_may_be_silent_for_longer(self):
        busy = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"
        run = Shell(f"echo loader >> serial; {busy}; echo booted >> serial; while :; do :; done").run(
            "cd.iso", Limits(60, 0.2, "booted"))
        self.assertEqual(run.output, "loader\nbooted\n")
        self.assertTrue(run.fell_silent)

    def test_what_ignores_the_end_is_killed(self):
        run = Shell("trap '' TERM; echo first >> serial; while :; do sleep 1; done").run(
            "cd.iso", Limits(0.5))
        self.assertEqual(run.status, -9)


class JudgeTest(unittest.TestCase):
    limits = Limits(7)

    def why(self, output, expected=None, **run):
        return why_bad(Run(output=output, **run), self.limits, expected)

    def test_the_last_line_of_the_image_says_it(self):
        self.assertEqual(self.why("end of run, status 0\n"), "")
        self.assertIn("status 2", self.why("end of run, status 0\nend of run, status 2\n"))

    def test_what_is_expected_must_be_there(self):
        self.assertEqual(self.why("hello\nend of run, status 0\n", "hello"), "")
        self.assertIn("\"bye\"", self.why("hello\nend of run, status 0\n", "bye"))

    def test_without_an_end(self):
        self.assertIn("no end after 7 s", self.why("hello\n", timed_out=True))
        self.assertIn("(status 1)", self.why("hello\n", status=1))

    def test_without_a_word(self):
        with self.assertRaisesRegex(Problem, "gave up"):
            check_output(Run(log="gave up\n"), Shell(""))
        check_output(Run(output="x"), Shell(""))


class TapTest(unittest.TestCase):
    def test_directives(self):
        stream = read_tap("1..4\nok 1 - a\nok 2 - b # SKIP why\nnot ok 3 - c # TODO known\n# text\nnot ok 4 - d\n")
        self.assertEqual([r.name for r in stream.bad], ["d"])
        self.assertEqual(stream.results[2].reason, "known")
        self.assertEqual(stream.results[2].text, "not ok 3 - c # TODO known\n# text")
        self.assertEqual(stream.summary(),
                         "4 programs: 2 ok, 1 of them cannot be compared; 1 known deviations, 1 bad")

    def test_what_the_log_lacks_is_bad(self):
        self.assertEqual(len(read_tap("1..1\nnot ok 1 - a # the log does not have it\n").bad), 1)

    def test_streams_that_are_none(self):
        for text in ("", "hello\n", "1..2\nok 1 - a\n", "1..1\nok 2 - a\n", "1..1\nok 1 - a\nok 2 - b\n",
                     "1..1\nOK 1 - a\n"):
            with self.assertRaises(Problem, msg=text):
                read_tap(text)


class CalibrationTest(unittest.TestCase):
    def behind(self, cpus=1, **run):
        binaries = Binaries("nvmx", "lhv", "l0")
        return Calibration(Shell("", cpus), binaries, False, Limits(7)).behind(Run(**run))

    def test_the_next_boot_begins_behind_the_program_that_stopped_the_machine(self):
        self.assertIsNone(self.behind(output="@image cpus 1\n@program 4 a\n@done 4\n@finished 5\n"))
        self.assertEqual(self.behind(output="@image cpus 1\n@program 4 a\n@done 4\n@program 5 b\n"), 6)

    def test_a_machine_that_does_not_begin_is_bad(self):
        for output in ("stop: this processor has no VMX\n", "@image cpus 1\n"):
            with self.assertRaises(BadRun):
                self.behind(output=output)
        with self.assertRaisesRegex(BadRun, "1 of 2 CPUs"):
            self.behind(cpus=2, output="@image cpus 1\n@program 0 a\n@finished 1\n")
        with self.assertRaisesRegex(BadRun, "no end after 7 s"):
            self.behind(output="@image cpus 1\n@program 0 a\n", timed_out=True)

    def test_a_line_that_the_machine_has_not_ended_is_none(self):
        self.assertEqual(whole_lines("@program 4 a\n@log 0 6 1 5"), "@program 4 a\n")
        self.assertEqual(whole_lines("@program 4 a\n"), "@program 4 a\n")
        self.assertEqual(whole_lines("@prog"), "")

    def test_suites_by_name_and_by_path(self):
        self.assertEqual(find_programs([]), ["lhv/suites"])
        self.assertEqual(find_programs(["nmi"]), ["lhv/suites/nmi"])
        self.assertEqual(find_programs(["lhv/suites/nmi/01.yaml"]), ["lhv/suites/nmi/01.yaml"])
        with self.assertRaisesRegex(Problem, "the suites are .*nmi"):
            find_programs(["no-such-suite"])


if __name__ == "__main__":
    unittest.main()
