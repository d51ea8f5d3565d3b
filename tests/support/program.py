"""Command lines of the programs in `support/programs/`, which tests run in processes of their own, and kill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]
"""The working directory of a program: from there it finds its imports."""


def program(name: str) -> list[str]:
    """The begin of the command line that runs `support/programs/<name>.py`; its working directory is `TESTS`."""
    return [sys.executable, "-m", f"support.programs.{name}"]
