# SPDX-License-Identifier: Apache-2.0
"""What is in the way of a script: its message is for the user."""


class Problem(Exception):
    """Wrong data, a missing tool, a full disk: not a verdict about what is tested."""
