# SPDX-License-Identifier: Apache-2.0
"""Runs an emulator that writes what comes out of COM1 into a file, and watches it."""

import dataclasses
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time
import tty

from lib.problem import Problem

TICK = 0.2  # seconds between two looks
BOOT_PATIENCE = 10  # while the machine boots, silence may last so many times as long
KILL_AFTER = 5  # seconds that an emulator has to end by itself
SCREEN_BYTES = 1 << 16
MEMORY = 1152  # MBytes, unless somebody wants others; lhv/suites/hostile looks for L0 there


@dataclasses.dataclass(frozen=True)
class Machine:
    """What is the same of every emulator."""
    cpus: int
    memory: int  # MBytes


@dataclasses.dataclass(frozen=True)
class Limits:
    seconds: float
    # Seconds of processor time of the emulator without output, so that a busy host does not count;
    # None: no limit.
    silence: float | None = None
    booted: str = ""  # what the output has when the machine has booted


@dataclasses.dataclass
class Run:
    output: str = ""  # of COM1
    screen: str = ""  # the last of what the emulator wrote to its terminal
    log: str = ""  # the emulator's own
    status: int = 0  # of the emulator
    cpu_seconds: float = 0
    timed_out: bool = False
    fell_silent: bool = False

    def last_lines(self, count=20):
        return "\n".join(self.output.splitlines()[-count:])


def processor_time(pid):
    """Seconds that the process has used; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    user, system = 11, 12  # behind the name
    return (int(fields[user]) + int(fields[system])) / os.sysconf("SC_CLK_TCK")


class Terminal:
    """A pseudo-terminal that nobody looks at, unless a person does. It must be read all the same, or who
    writes to it stops."""

    def __init__(self, person=None):
        """`person`: the file that what is typed comes from, and the one that shows what is written."""
        self.master, self.slave = pty.openpty()
        rows_and_columns = struct.pack("HHHH", 50, 132, 0, 0)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, rows_and_columns)
        self.last = b""
        self.typed, self.shown = person or (None, None)
        if person:  # whose own terminal echoes
            attributes = termios.tcgetattr(self.slave)
            attributes[3] &= ~termios.ECHO
            termios.tcsetattr(self.slave, termios.TCSANOW, attributes)

    def pass_on_what_is_typed(self):
        data = os.read(self.typed, SCREEN_BYTES)
        if data:
            os.write(self.master, data)
        else:
            self.typed = None

    def drain(self, seconds):
        """Reads what there is, and waits that long at most for it."""
        end = time.monotonic() + seconds
        while True:
            files = [self.master] + ([] if self.typed is None else [self.typed])
            ready = select.select(files, [], [], max(0, end - time.monotonic()))[0]
            if self.typed in ready:
                self.pass_on_what_is_typed()
            if not ready:
                return
            if self.master not in ready:
                continue
            try:
                data = os.read(self.master, SCREEN_BYTES)
            except OSError:  # nobody has the other side open
                data = b""
            if not data:
                time.sleep(max(0, end - time.monotonic()))
                return
            self.last = (self.last + data)[-SCREEN_BYTES:]
            if self.shown is not None:
                os.write(self.shown, data)

    def close(self):
        os.close(self.master)


class OwnTerminal:
    """A pseudo-terminal that an emulator has made for its screen, and says the name of. It must be read
    too: a full one stops the emulator, after minutes of a long run."""

    def __init__(self):
        self.file = None

    def drain(self, name):
        """`name`: the emulator's word, or None as long as it has said none."""
        try:
            if self.file is None and name:
                self.file = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
                tty.setraw(self.file)
            while self.file is not None and os.read(self.file, SCREEN_BYTES):
                pass
        except (OSError, termios.error):  # there is no more, or the emulator has ended
            pass

    def close(self):
        if self.file is not None:
            os.close(self.file)


class Serial:
    """The file that the emulator writes COM1 to."""

    def __init__(self, path, show):
        open(path, "wb").close()
        self.file = open(path, "rb")
        self.show = show
        self.text = ""

    def read(self):
        """Whether there was more."""
        text = self.file.read().decode("latin-1").replace("\r", "")
        self.text += text
        if text and self.show:
            self.show(text)
        return bool(text)

    def close(self):
        self.file.close()


class Emulator:
    """A program that runs a machine. `command(folder)` is what starts it: it writes COM1 to the file
    `serial` of that folder, and its own log, if it has one, to `log`."""
    name = ""
    tools = ()  # what must be installed
    person = None  # who debugs the machine, at the emulator's terminal: Terminal.person
    # Of guest programs: the simulated processor that does what this machine's does, if there is one.
    processor = None

    def command(self, iso, folder):
        raise NotImplementedError

    def why_it_gave_up(self, log):
        """The emulator's own words in its log; empty if there are none."""
        del log
        return ""

    def own_terminal(self, screen):
        """The name of the terminal that it has made for its screen, as it says on the one it was
        given; None if it has made none."""
        del screen

    def run(self, iso, limits, show=None):
        """Boots the CD; `show` is called with all that comes out of COM1."""
        with tempfile.TemporaryDirectory(prefix=f"nvmx-{self.name}-") as folder:
            serial = Serial(os.path.join(folder, "serial"), show)
            terminal = Terminal(self.person)
            run = Run()
            process = self.start(iso, folder, terminal)
            if self.person:  # Ctrl-C stops the machine, not us
                signal.signal(signal.SIGINT, lambda *_: os.killpg(process.pid, signal.SIGINT))
            try:
                self.watch(process, terminal, serial, limits, run)
            finally:
                run.cpu_seconds = processor_time(process.pid) or run.cpu_seconds
                end(process)
                terminal.drain(0)
                terminal.close()
            serial.read()
            serial.close()
            run.output = serial.text
            run.screen = terminal.last.decode("latin-1")
            run.status = process.returncode
            try:
                with open(os.path.join(folder, "log"), encoding="latin-1") as file:
                    run.log = file.read()
            except FileNotFoundError:
                pass
            return run

    def start(self, iso, folder, terminal):
        command = self.command(os.path.abspath(iso), folder)
        try:
            # A terminal of its own: it asks for the size, and a signal from the keyboard is ours.
            process = subprocess.Popen(
                command, cwd=folder, stdin=terminal.slave, stdout=terminal.slave,
                stderr=terminal.slave, env={**os.environ, "TERM": "xterm"}, start_new_session=True)
        except FileNotFoundError as error:
            raise Problem(f"{command[0]} is missing; scripts/setup installs it") from error
        os.close(terminal.slave)
        return process

    def watch(self, process, terminal, serial, limits, run):
        """Until the emulator ends, or has to."""
        own_terminal = OwnTerminal()
        try:
            self.watch_all(process, (terminal, own_terminal), serial, limits, run)
        finally:
            own_terminal.close()

    def watch_all(self, process, terminals, serial, limits, run):
        terminal, own_terminal = terminals
        begin = time.monotonic()
        heard_at = 0  # in processor time
        while process.poll() is None:
            terminal.drain(TICK)
            own_terminal.drain(self.own_terminal(terminal.last))
            run.cpu_seconds = processor_time(process.pid) or run.cpu_seconds
            if serial.read():
                heard_at = run.cpu_seconds
            if time.monotonic() - begin > limits.seconds:
                run.timed_out = True
                return
            if limits.silence is None:
                continue
            has_booted = serial.text and limits.booted in serial.text
            if run.cpu_seconds - heard_at > limits.silence * (1 if has_booted else BOOT_PATIENCE):
                run.fell_silent = True
                return


def end(process):
    """Ends the emulator and what it may have started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                pass
        try:
            process.wait(KILL_AFTER)
            return
        except subprocess.TimeoutExpired:
            continue
    process.wait()
