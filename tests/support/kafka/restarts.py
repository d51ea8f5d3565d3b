"""A process that asks a broker without end, while that restarts twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stoker.operations.broker.embedded import EmbeddedBroker

TESTS = Path(__file__).parents[2]


def require_outlives_two_restarts(broker: EmbeddedBroker, program: str, *arguments: str, over: Path) -> None:
    """Run a program over two restarts; it must end well afterwards.

    Args:
        program: prints `asking` when it begins, and ends once its last argument, a path, exists.
        over: that path.
    """
    command = [sys.executable, "-c", program, *arguments, str(over)]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asks:
        try:
            assert asks.stdout is not None
            assert asks.stdout.readline() == "asking\n"
            for _ in range(2):
                broker.stop()
                broker.start()
            over.touch()
            _, error = asks.communicate(timeout=180)
        finally:
            asks.kill()  # else the block waits for it without end, also where the test's time is over
    assert asks.returncode == 0, error
