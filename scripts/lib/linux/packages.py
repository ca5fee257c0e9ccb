# SPDX-License-Identifier: Apache-2.0
"""Debian's packages, downloaded and unpacked, with nothing installed."""

import glob
import os
import re
import shutil
import subprocess

from lib.problem import Problem


def run(command, folder):
    try:
        result = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, check=False)
    except FileNotFoundError as error:
        raise Problem(f"{command[0]} is missing; this works on Debian") from error
    if result.returncode != 0:
        raise Problem(f"{' '.join(command)}:\n{result.stdout}"
                      "apt-get update may help: package lists may be absent or old")
    return result.stdout


def kernel_package():
    """What the package linux-image-amd64, which holds nothing itself, stands for."""
    depends = run(["apt-cache", "depends", "linux-image-amd64"], "/")
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if not found:
        raise Problem("apt-cache knows no linux-image-amd64; apt-get update may help")
    return found.group(1)


class Packages:
    """The kernel and busybox, below a folder that keeps them. What is there is not fetched again."""

    def __init__(self, folder):
        self.folder = folder
        self.root = os.path.join(folder, "root")

    def fetch(self):
        if os.path.isdir(self.root):
            return
        names = [kernel_package(), "busybox-static"]
        print(f"linux: fetching Debian's {' and '.join(names)} to {self.folder}", flush=True)
        os.makedirs(self.folder, exist_ok=True)
        unpacked = self.root + ".part"
        shutil.rmtree(unpacked, ignore_errors=True)
        for name in names:
            for old in glob.glob(os.path.join(self.folder, f"{name}_*.deb")):
                os.remove(old)
            run(["apt-get", "download", name], self.folder)
            file, = glob.glob(os.path.join(self.folder, f"{name}_*.deb"))
            run(["dpkg-deb", "-x", file, unpacked], self.folder)
            os.remove(file)
        os.rename(unpacked, self.root)

    def find(self, pattern):
        """The one file of that name below the root."""
        found = glob.glob(os.path.join(self.root, pattern), recursive=True)
        if len(found) != 1:
            raise Problem(f"{self.root}: {len(found)} files {pattern} instead of one; "
                          f"remove {self.folder}, and the packages are fetched again")
        return found[0]
