# SPDX-License-Identifier: Apache-2.0
"""Which lines of the core a profile of llvm-cov says were reached."""

import os
import subprocess

from lib.problem import Problem

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def merge_profiles(raw, merged, *form):
    result = subprocess.run(["llvm-profdata-19", "merge", "-sparse", *form, "-o", merged, *raw],
                            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        raise Problem(f"{result.stdout}\nllvm-profdata-19 cannot merge the profiles")


def read_source(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read().split("\n")


def holds_code(line):
    """A line for the preprocessor holds none; what a macro becomes counts where it is used."""
    return line.strip() != "" and not line.lstrip().startswith("#")


def without_empty_lines(lines):
    """Of {file: {line: count}} what has code."""
    result = {}
    for name, counts in lines.items():
        text = read_source(name)
        result[name] = {number: count for number, count in counts.items()
                        if holds_code(text[number - 1])}
    return result


def add_lcov(lines, text, sources):
    """Adds to {file: {line: count}} what one binary tells of the files that count."""
    here = None
    for row in text.split("\n"):
        if row.startswith("SF:"):
            name = os.path.relpath(os.path.join(ROOT, row[3:]), ROOT)
            wanted = name.startswith(sources) and not name.endswith("_test.cc")
            here = lines.setdefault(name, {}) if wanted else None
        elif row.startswith("DA:") and here is not None:
            number, count = row[3:].split(",")[:2]
            here[int(number)] = max(here.get(int(number), 0), int(count))


def read_counts(binaries, profile, sources):
    """{file: {line: count}} over all binaries. Each is asked by itself: of several, llvm-cov believes
    the first that has a function of a header, also if it never calls it."""
    lines = {}
    for binary in binaries:
        exported = subprocess.run(["llvm-cov-19", "export", "-format=lcov",
                                   f"-instr-profile={profile}", binary], cwd=ROOT, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if exported.returncode != 0:
            raise Problem(f"llvm-cov-19 failed on {binary}:\n{exported.stderr}")
        add_lcov(lines, exported.stdout, sources)
    return without_empty_lines(lines)


def print_report(lines, show_lines):
    total = missed = 0
    print(f"{'lines':>6} {'missed':>6} {'cover':>7}  file")
    for name in sorted(lines):
        counts = lines[name]
        uncovered = sorted(number for number, count in counts.items() if count == 0)
        total += len(counts)
        missed += len(uncovered)
        share = 100 * (1 - len(uncovered) / len(counts)) if counts else 100
        print(f"{len(counts):6} {len(uncovered):6} {share:6.1f}%  {name}")
        if show_lines and uncovered:
            text = read_source(name)
            for number in uncovered:
                print(f"{'':14}{number:5}: {text[number - 1]}")
    share = 100 * (1 - missed / total) if total else 0
    print(f"{total:6} {missed:6} {share:6.1f}%  in all")
    return share
