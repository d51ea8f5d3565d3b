"""A sender of one order to cancel many jobs, which is killed amid its transaction.

Arguments: bootstrap servers, namespace, file of runs, how many jobs, and after which step it dies: `orders`, `trace` or
`commit`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from stoker.producers.control import Control
from stoker.producers.transaction_writer import TransactionWriter
from stoker.topology import ClusterSettings
from support.programs import ordered_worker
from support.scenes.ordered_workers import job_id

STEPS = ("orders", "trace", "commit")


def _die_after(step: str) -> None:
    """Of the calls of a transaction, die after this one."""
    left = [STEPS.index(step)]

    def dying(method: Any) -> Any:
        def call(*arguments: Any) -> Any:
            done = method(*arguments)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return done

        return call

    TransactionWriter._produce = dying(TransactionWriter._produce)  # type: ignore[method-assign]
    TransactionWriter.write = dying(TransactionWriter.write)  # type: ignore[method-assign]


def main() -> None:
    """Cancel jobs, and die."""
    servers, namespace, runs, count, step = sys.argv[1:]
    pipeline, _, _ = ordered_worker.declare(namespace, Path(runs))
    with Control(pipeline, ClusterSettings(bootstrap_servers=servers)) as control:
        _die_after(step)
        control.cancel(*map(job_id, range(int(count))))


if __name__ == "__main__":
    main()
