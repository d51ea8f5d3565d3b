"""Run a program until it says something, and kill it with SIGKILL there."""

from __future__ import annotations

import subprocess
from collections.abc import Generator

from support.program import TESTS, program


def lines_until_killed(*arguments: str) -> Generator[str, None, None]:
    """Yield the lines that the replay in its own process prints; closing the generator kills it."""
    replay_process = subprocess.Popen(
        [*program("replay_under_fire"), *arguments], cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert replay_process.stdin is not None
    assert replay_process.stdout is not None
    try:
        yield from (line.strip() for line in replay_process.stdout)
    finally:
        replay_process.kill()
        replay_process.wait(60)
        replay_process.stdin.close()
        replay_process.stdout.close()
