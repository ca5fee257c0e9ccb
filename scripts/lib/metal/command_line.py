# SPDX-License-Identifier: Apache-2.0
"""What scripts/bochs and scripts/qemu have in common for who types them."""

import argparse
import math
import os
import shutil
import signal
import sys

from lib.metal.calibration import SUFFIX_OF_ARCH, Archs, BadRun, Binaries, Calibration, find_programs
from lib.metal.emulator import MEMORY, Limits
from lib.metal.judge import check_output, why_bad
from lib.problem import Problem

MODES = ("native", "nested")
MOST_CPUS = 16
SECONDS_OF_CD = 60
BOOTED = "\n@program "  # what the image for guest programs writes then
# The longest program is silent for some six seconds; under an L0 for i386 on a busy host for more than
# twelve.
PROGRAM_LIMITS = Limits(seconds=1800, silence=30, booted=BOOTED)

WHAT = """\
WHAT is one of
  FILE.iso  a CD image (scripts/image makes it): boots it and prints what it writes to COM1
  native    runs guest programs in the image that is made for them (lhv/image), and compares what they
            observe with the simulated processor
  nested    the same, with that image as L1 of nvmx (docs/metal.md)
A guest program that stops the machine is the last of its boot: the next one begins behind it.
"""
STATUS = """\
Exit status: 0 if the image's last line says that all is well ("end of run, status 0"), or each guest
program observed what the simulated processor does but for known deviations; 1 if not, or the time is
over; 2 if it could not be run.
"""


def positive(text):
    value = int(text) if text.isdecimal() else 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"it needs a number, not \"{text}\"")
    return value


def cpu_count(text):
    value = positive(text)
    if value > MOST_CPUS:
        raise argparse.ArgumentTypeError(f"at most {MOST_CPUS}")
    return value


def make_parser(name, description):
    parser = argparse.ArgumentParser(
        prog=f"scripts/{name}", description=f"{description}\n\n{WHAT}", epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", metavar="WHAT", help="native, nested, or FILE.iso")
    parser.add_argument("--cpus", type=cpu_count, default=1, metavar="N",
                        help=f"CPUs, 1 to {MOST_CPUS} (1); guest programs with \"repeat: all\" are for as many")
    parser.add_argument("--memory", type=positive, default=MEMORY, metavar="M",
                        help="MBytes of memory (%(default)s)")
    parser.add_argument("--timeout", type=positive, metavar="S",
                        help=f"seconds after which a boot has failed ({SECONDS_OF_CD} of a CD, "
                        f"{PROGRAM_LIMITS.seconds} of guest programs)")
    parser.add_argument("--silence", type=positive, metavar="S",
                        help="seconds of the emulator's processor time without output after which the "
                        f"machine has been stopped (of a CD none, {PROGRAM_LIMITS.silence} of guest programs)")
    parser.add_argument("--serial", metavar="FILE", help="keep the output of COM1 there as well")
    parser.add_argument("--log", metavar="FILE", help="keep the emulator's own log there")
    parser.add_argument("--expect", metavar="TEXT", help="fail unless the output of COM1 has TEXT")
    programs = parser.add_argument_group("for guest programs")
    programs.add_argument("--suite", action="append", default=[], metavar="S",
                          help="a folder of lhv/suites, or any file or folder with guest programs; can be "
                          "repeated (all of lhv/suites)")
    programs.add_argument("--processor", metavar="P",
                          help="the simulated processor to compare with; \"nvmx list\" has them")
    programs.add_argument("--arch", choices=SUFFIX_OF_ARCH, default="x86_64",
                          help="what nvmx is for, or the image that runs natively (%(default)s)")
    programs.add_argument("--l1-arch", choices=SUFFIX_OF_ARCH,
                          help="what the image is for that runs the guest programs (as --arch says): those that "
                          "do not say \"arch\" themselves become programs for it")
    programs.add_argument("--tap", action="store_true", help="print the result of each program as a TAP stream")
    programs.add_argument("--verbose", action="store_true",
                          help="print known deviations, and what differs in them")
    programs.add_argument("--binaries", metavar="DIR",
                          help="take the images and nvmx from there, where they lie as in bazel-bin, "
                          "instead of building them")
    return parser


def keep(path, text):
    if not path:
        return
    try:
        with open(path, "w", encoding="latin-1") as file:
            file.write(text)
    except OSError as error:
        raise Problem(f"{path} cannot be written: {error.strerror}") from error


def counted(number, what):
    return f"{number} {what}{'s' if number != 1 else ''}"


def show(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def boot_cd(emulator, arguments):
    if not os.path.isfile(arguments.what):
        raise Problem(f"there is no file {arguments.what}")
    # A person has time.
    limits = Limits(arguments.timeout or (math.inf if emulator.person else SECONDS_OF_CD), arguments.silence)
    run = emulator.run(arguments.what, limits, show)
    if not run.output.endswith("\n"):
        show("\n")
    keep(arguments.log, run.log)
    keep(arguments.serial, run.output)
    check_output(run, emulator)
    why = why_bad(run, limits, arguments.expect)
    if not why:
        return 0
    panic = emulator.why_it_gave_up(run.log)
    sys.stderr.write("".join(f"{emulator.name}: {line}\n" for line in (panic, why) if line))
    return 1


def run_programs(emulator, arguments):
    programs = find_programs(arguments.suite)
    archs = Archs(arguments.arch if arguments.what == "nested" else "x86_64", arguments.l1_arch or arguments.arch)
    binaries = Binaries.of(arguments.binaries, archs) if arguments.binaries else Binaries.build(archs)
    limits = Limits(arguments.timeout or PROGRAM_LIMITS.seconds,
                    arguments.silence or PROGRAM_LIMITS.silence, BOOTED)
    calibration = Calibration(emulator, binaries, arguments.what == "nested", limits)
    try:
        calibration.run(programs)
    finally:
        keep(arguments.log, calibration.log)
        keep(arguments.serial, calibration.serial)
    if arguments.expect and arguments.expect not in calibration.serial:
        raise BadRun(f"\"{arguments.expect}\" is not in the output")
    stream, tap = calibration.compare(programs, arguments.processor or emulator.processor,
                                      arguments.verbose)
    if arguments.tap:
        show(tap)
    else:
        for result in stream.results:
            if result.is_bad or (arguments.verbose and result.directive == "TODO"):
                print(result.text)
    print(f"{'# ' if arguments.tap else ''}{arguments.what}, {counted(emulator.machine.cpus, 'CPU')}: "
          f"{stream.summary()}; {counted(calibration.boots, 'boot')}, {calibration.cpu_seconds:.0f} s")
    return 1 if stream.bad else 0


def run(emulator, arguments):
    for tool in emulator.tools:
        if not shutil.which(tool):
            raise Problem(f"{tool} is missing; scripts/setup installs it")
    return (run_programs if arguments.what in MODES else boot_cd)(emulator, arguments)


def main(parser, make_emulator):
    """`make_emulator` makes one from the arguments."""
    def stop(number, _frame):
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    arguments = parser.parse_args()
    name = os.path.basename(parser.prog)
    try:
        return run(make_emulator(arguments), arguments)
    except BadRun as bad:
        sys.stderr.write(f"{bad}\n{name}: see above\n" if "\n" in str(bad) else f"{name}: {bad}\n")
        return 1
    except Problem as problem:
        sys.stderr.write(f"{name}: {problem}\n")
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
