"""Moves money between two databases, each part in a process of its own, to be killed at any moment.

A *bank* takes money from an account of the first database and enqueues the job that pays it out, in one transaction. A
*relay* publishes the jobs, a *worker* pays into an account of the second database, through the inbox.

Arguments: `bank`, `relay` or `worker`, bootstrap servers, namespace, the URLs of both databases.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import psycopg

from stoker.consumers import Worker, WorkerSettings, current_job
from stoker.producers.outbox import Outbox, OutboxRelay
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.declaration.retries import RetryPolicy
from support.programs.crashing_worker import TIERS

ACCOUNTS = 20
CENTS = 1_000_000
SESSION = timedelta(seconds=1.5)
"""Short, since workers are killed again and again; a living one that is taken for dead does no harm to the books."""
PAUSE_S = 0.02
"""Between two transfers of a bank: workers that are killed again and again do a few dozen jobs a second."""


def declare(namespace: str, second: str) -> tuple[Pipeline, Queue, JobType[[str, int], None]]:
    """The one job: money arrives."""
    pipeline = Pipeline(namespace)
    policy = RetryPolicy(attempts=1_000)
    queue = pipeline.queue("payments", partitions=4, tiers=TIERS, retry=policy, session_timeout=SESSION)

    @pipeline.job(queue, key="account")
    def pay_in(account: str, cents: int) -> None:
        with psycopg.connect(second, connect_timeout=5) as connection, current_job().inbox(connection):
            connection.execute("UPDATE accounts SET cents = cents + %s WHERE name = %s", (cents, account))
            connection.execute("INSERT INTO payments (account, cents) VALUES (%s, %s)", (account, cents))

    return pipeline, queue, pay_in


def run_bank(first: str, outbox: Outbox, job: JobType[[str, int], None]) -> None:
    """Transfer until killed; of ten transfers, one is rolled back and one to a savepoint before it."""
    draw = random.Random()
    while True:
        try:
            with psycopg.connect(first, connect_timeout=5) as connection:
                while True:
                    transfer(connection, outbox, job, draw)
                    time.sleep(PAUSE_S)
        except psycopg.OperationalError:  # the server was killed
            time.sleep(0.05)


def transfer(
    connection: psycopg.Connection[tuple[object, ...]],
    outbox: Outbox,
    job: JobType[[str, int], None],
    draw: random.Random,
) -> None:
    """One transfer of some cents."""
    account, cents, fate = f"a{draw.randrange(ACCOUNTS)}", draw.randrange(1, 100), draw.randrange(10)
    connection.execute("SAVEPOINT before")
    connection.execute("UPDATE accounts SET cents = cents - %s WHERE name = %s", (cents, account))
    outbox.enqueue(connection, job, account, cents)
    if fate == 0:
        connection.rollback()
        return
    if fate == 1:
        connection.execute("ROLLBACK TO SAVEPOINT before")
    connection.commit()


def main() -> None:
    """Do one part until killed."""
    part, servers, namespace, first, second = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)
    cluster = ClusterSettings(bootstrap_servers=servers)
    pipeline, _, job = declare(namespace, second)
    parts: dict[str, Callable[[], None]] = {
        "bank": lambda: run_bank(first, Outbox(pipeline), job),
        "relay": lambda: OutboxRelay(pipeline, first, cluster).run(),
        "worker": lambda: Worker(pipeline, cluster, WorkerSettings(concurrency=8)).run(),
    }
    parts[part]()


if __name__ == "__main__":
    main()
