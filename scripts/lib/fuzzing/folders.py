# SPDX-License-Identifier: Apache-2.0
"""Whether the folders of a campaign can be worked with: libFuzzer passes over in silence what is wrong."""

import os
import shutil

from lib.problem import Problem

FREE_TO_BEGIN = 256 << 20
FREE_TO_GO_ON = 16 << 20


def check_folder(path):
    """A folder that can be read and written, with room on its disk. It is made if there is none."""
    try:
        os.makedirs(path, exist_ok=True)
        probe = os.path.join(path, ".probe")
        with open(probe, "wb") as file:
            file.write(b"nvmx")
        os.remove(probe)
        os.listdir(path)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}; name another folder with --corpus") from error
    free = shutil.disk_usage(path).free
    if free < FREE_TO_BEGIN:
        raise Problem(f"{path}: only {free >> 20} MBytes are free on its disk, and a campaign needs "
                      f"{FREE_TO_BEGIN >> 20}; name another folder with --corpus")


def has_room(path):
    return shutil.disk_usage(path).free >= FREE_TO_GO_ON


def check_inputs(tool, target, folder):
    """That each file of a corpus can be read and is an input."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file():
                    with open(entry.path, "rb"):
                        pass
    except OSError as error:
        raise Problem(f"{error.filename}: {error.strerror}; remove it, or make it readable") from error
    damaged = tool.damaged(target, folder)
    if damaged:
        raise Problem(f"{len(damaged)} of the files in {folder} are damaged; remove them:\n  "
                      + "\n  ".join(damaged[:10]))
