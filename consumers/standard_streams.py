"""Stands in for stdin, stdout and stderr where a process was started without them, as some supervisors do."""

from __future__ import annotations

import os
import sys


def fill_descriptors() -> None:
    """Open the null device as descriptors 0 to 2, as far as they are closed.

    Else the next file or connection that is opened has such a number, and what a library prints to stderr goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)


def fill_streams() -> None:
    """Let programs read nothing and print to nowhere, where Python has found no stream."""
    fill_descriptors()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # as above
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # as above
