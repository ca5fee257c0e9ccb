# SPDX-License-Identifier: Apache-2.0
"""Builds with Bazel, and asks it which commands it builds with."""

import json
import os
import shlex
import subprocess
import tempfile

from lib.problem import Problem

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

BINARIES = {  # where each configuration's programs are
    None: "bazel-bin",
    "lto": "bazel-lto-bin",
    "fuzz": "bazel-fuzz-bin",
    "fuzz-asan": "bazel-fuzz-asan-bin",
    "fuzz-coverage": "bazel-fuzz-coverage-bin",
    "fuzz-profile": "bazel-fuzz-profile-bin",
}


class Bazel:
    def __init__(self, output_base=None):
        # What the boot scripts take it from, too.
        bazel = shlex.split(os.environ.get("NVMX_BAZEL", "bazel"))
        self.command = bazel + ([f"--output_base={output_base}"] if output_base else [])

    @staticmethod
    def options(config):
        if not config:
            return []
        # Programs are linked of mostly the same code, and again and again.
        cache = os.path.expanduser("~/.cache/nvmx-fuzz-thinlto")
        return [f"--config={config}", f"--linkopt=-Wl,--thinlto-cache-dir={cache}"]

    def build(self, label, config=None):
        """The program of that label."""
        return os.path.join(self.build_all([label], config), label[2:].replace(":", "/"))

    def build_all(self, labels, config=None):
        """The folder below which the programs of these labels are."""
        log = tempfile.TemporaryFile("w+")
        try:
            result = subprocess.run([*self.command, "build", "--curses=no", "--color=no",
                                     "--show_progress_rate_limit=20", *self.options(config), *labels],
                                    cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
        except FileNotFoundError as error:
            raise Problem("bazel is missing; scripts/setup installs what the build needs") from error
        if result.returncode != 0:
            log.seek(0)
            raise Problem(f"{log.read()}\nthe build of {', '.join(labels)} failed")
        return os.path.join(ROOT, BINARIES[config])

    def actions(self, query, config):
        """Those of an aquery that run commands: [[word]]."""
        result = subprocess.run([*self.command, "aquery", *self.options(config), "--output=jsonproto",
                                 "--noinclude_artifacts", "--include_param_files", query],
                                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                check=False)
        if result.returncode != 0:
            raise Problem(f"{result.stderr}\nbazel aquery {query} failed")
        return [action["arguments"] for action in json.loads(result.stdout).get("actions", ())
                if action.get("arguments")]
