# SPDX-License-Identifier: Apache-2.0
"""QEMU."""

from lib.metal.emulator import Emulator


class Qemu(Emulator):
    name = "qemu"
    tools = ("qemu-system-x86_64",)

    def __init__(self, machine, options):
        self.machine = machine
        self.options = options  # further ones of QEMU's

    # Without a network card: no image uses one, and firmware's driver has it write to memory at times
    # of its own.
    def command(self, iso, folder):
        return ["qemu-system-x86_64", "-m", str(self.machine.memory), "-smp", str(self.machine.cpus),
                "-cdrom", iso, "-boot", "d", "-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none",
                "-serial", f"file:{folder}/serial", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                *self.options]
