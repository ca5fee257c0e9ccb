# SPDX-License-Identifier: Apache-2.0
"""CD images."""

import os
import subprocess

from lib.bazel import ROOT
from lib.problem import Problem


def make_image(path, entry):
    """One with the entry, as scripts/image takes it."""
    made = subprocess.run([os.path.join(ROOT, "scripts/image"), "-o", path, entry], cwd=ROOT, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode != 0:
        raise Problem(f"the image cannot be made:\n{made.stdout}")
