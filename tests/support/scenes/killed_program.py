"""Run a program until it says something, and kill it with SIGKILL there."""

from __future__ import annotations

import subprocess
from collections.abc import Generator

from support.program import TESTS, program


def lines_until_killed(*arguments: str) -> Generator[str, None, None]:
    """Yield the lines that the desk in its own process says; closing the generator kills it."""
    desk = subprocess.Popen(
        [*program("desk_under_fire"), *arguments], cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert desk.stdin is not None
    assert desk.stdout is not None
    try:
        yield from (line.strip() for line in desk.stdout)
    finally:
        desk.kill()
        desk.wait(20)
        desk.stdin.close()
        desk.stdout.close()
