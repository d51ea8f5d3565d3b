"""A replay in a process of its own that stops at a given place of a given batch, says so, and waits to be killed.

Arguments: bootstrap servers, namespace, `dead` or `queue`, replay id or `-`, batch number, `produced` or `committed`.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from stoker.operations.replay import pacing
from stoker.operations.replay.dead_letter_replay import DeadLetterManager, Request
from stoker.operations.replay.pacing import ReplayPace
from stoker.operations.replay.queue_replay import Bounds, QueueReplay
from stoker.operations.replay.transactions import TransactionalPublisher
from stoker.operations.stored_jobs.selection import Selection
from stoker.topology import ClusterSettings
from support.scenes.dead_letters import open_bench

BATCH_UNITS = 20


def stop_at(batch: int, place: str) -> None:
    """Make every publisher of this process halt in that batch."""
    commit, begun = TransactionalPublisher._commit_or_retry, 0

    def commit_or_halt(self: TransactionalPublisher) -> None:
        nonlocal begun
        begun += 1
        if begun == batch and place == "produced":
            self._producer.flush(20)
            halt(place)
        commit(self)
        if begun == batch and place == "committed":
            halt(place)

    TransactionalPublisher._commit_or_retry = commit_or_halt  # type: ignore[method-assign]  # the place of the kill


def halt(place: str) -> NoReturn:
    """Say where we are, and wait for the end."""
    print(place, flush=True)
    sys.stdin.read()
    raise SystemExit("nobody killed us")


def main() -> None:
    """Run until halted, or until done."""
    servers, namespace, kind, replay_id, batch, place = sys.argv[1:]
    bench = open_bench(ClusterSettings(bootstrap_servers=servers), namespace, create=False)
    stop_at(int(batch), place)
    pacing.MAX_BATCH_UNITS = BATCH_UNITS  # type: ignore[misc]  # small batches make many places to be killed at
    if kind == "dead":
        manager = DeadLetterManager(bench.pipeline, bench.cluster, bench.queue, bench.replaying())
        request = Request(selection=Selection())
        manager.carry_out(request, manager.forecast(request), ReplayPace())
    else:
        replay = QueueReplay(bench.pipeline, bench.cluster, bench.queue)
        stretch = replay.stretch(Bounds(), Selection()) if replay_id == "-" else replay.begun_stretch(replay_id)
        print(stretch.replay_id, flush=True)
        replay.carry_out(stretch, replay.count(stretch), ReplayPace())
    print("done", flush=True)


if __name__ == "__main__":
    main()
