# SPDX-License-Identifier: Apache-2.0
"""What the processes of a campaign say that they have reached (struct Reached of fuzz/target.h)."""

import struct


class Reached:
    """Sums over processes: a number for each counter, a list for each array of counters."""

    def __init__(self, layout, paths):
        self.layout = layout
        size = sum(count for _, count in layout.values())
        self.words = [0] * size
        for path in paths:
            try:
                with open(path, "rb") as file:
                    data = file.read()
            except OSError:
                continue  # that process has not begun yet
            if len(data) == size * 8:
                words = struct.unpack(f"<{size}Q", data)
                self.words = [a + b for a, b in zip(self.words, words)]

    def __getattr__(self, name):
        if name not in self.layout:
            raise AttributeError(name)
        first, count = self.layout[name]
        return self.words[first] if count == 1 else self.words[first:first + count]

    def kinds(self, name):
        return sum(1 for count in getattr(self, name) if count)
