"""A worker in a process of its own whose jobs write to a database through the inbox, and may kill it at a given place.

Arguments: bootstrap servers, namespace, URL of the database, driver, and `never` or the place at which job 5 kills the
process: `written` (its write is done, not committed), `committed` (the commit is through, the job has not ended),
`ended` (the job has ended, nothing is written to Kafka) or `remembered` (the ledger has it, no offset is committed).
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from stoker.consumers import Worker, WorkerSettings, current_job
from stoker.consumers.records.done_handful import DoneHandful
from stoker.consumers.settling.settle import Settler
from stoker.consumers.settling.settlement import SettlementBatch
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.declaration.retries import RetryPolicy
from support.programs.crashing_worker import TIERS, die
from support.scenes.inboxes import ASYNC, async_connection, drive, sync_connection, write

MARKED: Final = "5"
PLACES: Final = ("written", "committed", "ended", "remembered")
Dying = Callable[[str, str], None]


def declare(
    namespace: str, url: str, driver: str, die_if: Dying = lambda _place, _job: None
) -> tuple[Pipeline, Queue, JobType[[int], Any]]:
    """Jobs that write a row, of ten one fails at first, after its write."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=2, tiers=TIERS, retry=RetryPolicy(attempts=3))
    kind = _act_async if driver in ASYNC else _act
    return pipeline, queue, pipeline.job(queue, name="act")(kind(url, driver, die_if))


def _act(url: str, driver: str, die_if: Dying) -> Callable[[int], None]:
    def act(number: int) -> None:
        job = current_job()
        with sync_connection(driver, url) as connection, job.inbox(connection) as inbox:
            drive(_write(connection, number))
            inbox.keep(number)
            die_if("written", job.job_id)
        die_if("committed", job.job_id)

    return act


def _act_async(url: str, driver: str, die_if: Dying) -> Callable[[int], Awaitable[None]]:
    async def act(number: int) -> None:
        job = current_job()
        async with async_connection(driver, url) as connection, job.inbox(connection) as inbox:
            await _write(connection, number)
            inbox.keep(number)
            die_if("written", job.job_id)
        die_if("committed", job.job_id)

    return act


async def _write(connection: Any, number: int) -> None:
    await write(connection, f"INSERT INTO effects (job) VALUES ('{number}')")
    if number % 10 == 9 and current_job().attempt == 1:
        raise ConnectionError(number)


def die_in_settling(place: str) -> None:
    """Make this process kill itself when the marked job comes to that place of the settler."""
    if place == "ended":
        hand_in_done = Settler.hand_in_done

        def dying(self: Settler, handful: DoneHandful) -> None:
            if any(record.deduplication_id == MARKED for record in handful.records):
                die()
            hand_in_done(self, handful)

        Settler.hand_in_done = dying  # type: ignore[method-assign]  # the place of the kill
    elif place == "remembered":
        make = Settler.__init__

        def make_dying(self: Settler, *arguments: Any, **options: Any) -> None:
            make(self, *arguments, **{**options, "on_settled": _die_with_marked})

        Settler.__init__ = make_dying  # type: ignore[method-assign]  # the place of the kill


def _die_with_marked(batch: SettlementBatch) -> None:
    if any(record.deduplication_id == MARKED for record in batch.records):
        die()


def main() -> None:
    """Work until killed."""
    servers, namespace, url, driver, place = sys.argv[1:]
    die_in_settling(place)

    def die_if(here: str, job: str) -> None:
        if (here, job) == (place, MARKED):
            die()

    pipeline, _, _ = declare(namespace, url, driver, die_if)
    Worker(pipeline, ClusterSettings(bootstrap_servers=servers), WorkerSettings(concurrency=4)).run()


if __name__ == "__main__":
    main()
