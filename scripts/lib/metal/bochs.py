# SPDX-License-Identifier: Apache-2.0
"""Bochs."""

import os
import re

from lib.metal.emulator import Emulator

# Of the models with VMCS shadowing the one with the fewest deviations, and the one with most features.
MODEL_OF_PROGRAMS = "corei7_skylake_x"
MODEL_OF_CDS = "corei7_icelake_u"
IPS = 10_000_000  # instructions a second of virtual time

CONFIGURATION = """\
config_interface: textconfig
plugin_ctrl: unmapped=1, biosdev=1
cpu: model={model}, count={cpus}, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs={ignore_msrs}
memory: guest={memory}, host={memory}
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
display_library: term
clock: sync=none, time0=1700000000
com1: enabled=1, mode=file, dev={folder}/serial
log: {folder}/log
panic: action=fatal
error: action=report
"""


class Bochs(Emulator):
    name = "bochs"
    tools = ("bochs",)
    processor = "bochs-skylake-x"

    def __init__(self, machine, model, ips=IPS, ignore_msrs=False, person=None):
        self.machine = machine
        self.model = model
        self.ips = ips
        self.ignore_msrs = ignore_msrs
        self.person = person

    def command(self, iso, folder):
        configuration = CONFIGURATION.format(
            model=self.model, cpus=self.machine.cpus, ips=self.ips, memory=self.machine.memory,
            ignore_msrs=int(self.ignore_msrs), iso=iso, folder=folder)
        # Its debugger waits for a command before the first instruction.
        for name, text in (("bochsrc", configuration), ("commands", "c\n")):
            with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                file.write(text)
        return ["bochs", "-q", "-f", "bochsrc", *([] if self.person else ["-rc", "commands"])]

    def own_terminal(self, screen):
        name = re.search(rb'connected to screen "([^"]+)"', screen)
        return name[1].decode("ascii") if name else None

    def why_it_gave_up(self, log):
        # How the machine is turned off is one too.
        panics = re.findall(r">>PANIC<< (?!Shutdown port: shutdown requested)(.*)", log)
        return panics[-1] if panics else ""
