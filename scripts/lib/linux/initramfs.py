# SPDX-License-Identifier: Apache-2.0
"""An initramfs: a cpio archive of the form "newc" (documentation of Linux, "initramfs buffer format")."""

import stat

# In the order in which they are loaded.
KVM_MODULES = ("irqbypass", "kvm", "kvm-intel")
INIT = f"""#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
echo "linux: init runs on $($b nproc) CPUs"
status=0
if [ -e /kvm_guest ]; then
  for module in {' '.join(KVM_MODULES)}; do $b insmod /$module.ko || status=1; done
  /kvm_guest || status=1
fi
echo "end of run, status $status"
# Until that has gone out of the serial line.
$b sleep 1
$b poweroff -f
"""


class Archive:
    def __init__(self):
        self.bytes = bytearray()
        self.count = 0

    def _add(self, name, mode, content=b"", device=(0, 0)):
        self.count += 1
        text = name.encode() + b"\0"
        fields = (self.count, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(text), 0)
        self.bytes += b"070701" + b"".join(b"%08X" % field for field in fields) + text
        self.bytes += b"\0" * (-len(self.bytes) % 4)
        self.bytes += content
        self.bytes += b"\0" * (-len(self.bytes) % 4)

    def folder(self, name):
        self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name, content):
        self._add(name, stat.S_IFREG | 0o755, content)

    def character_device(self, name, major, minor):
        self._add(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def end(self):
        self._add("TRAILER!!!", 0)
        return bytes(self.bytes)


def make_initramfs(busybox, more):
    """`busybox`: the program; `more`: {name: content} beside init."""
    archive = Archive()
    for name in ("bin", "dev"):
        archive.folder(name)
    # The kernel opens it for init.
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox)
    archive.file("init", INIT.encode())
    for name, content in more.items():
        archive.file(name, content)
    return archive.end()
