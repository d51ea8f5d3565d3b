"""Money moves between two banks, each with a database of its own: the outbox on one side, the inbox on the other.

    stoker -A examples.transfers:pipeline topology apply
    python -m examples.transfers

The first bank takes the money from an account and enqueues the job that pays it out, in one transaction. The second one
books it in the job's inbox. Both books balance in the end, whatever is killed in between. One process does all of it
here, on two SQLite files in a temporary folder; in production, relay and worker are `stoker outbox relay` and
`stoker worker`.
"""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from stoker.consumers import Worker, current_job
from stoker.operations.inbox import create_inbox
from stoker.operations.outbox import create_outbox, outbox_status
from stoker.producers.outbox import Outbox, OutboxRelay
from stoker.topology import ClusterSettings, Pipeline

ACCOUNTS: Final = ("ada", "bob", "eve")
CENTS: Final = 10_000
TRANSFERS: Final = 30
DEADLINE_S: Final = 60.0
FOLDER: Final = Path(os.environ.get("TRANSFERS_FOLDER") or tempfile.mkdtemp(prefix="transfers-"))
FIRST, SECOND = FOLDER / "first.sqlite", FOLDER / "second.sqlite"

pipeline = Pipeline(os.environ.get("TRANSFERS_NAMESPACE", "transfers"), description="money between two banks")
payments = pipeline.queue("payments", partitions=2)


@pipeline.job(payments, key="account")
def pay_in(account: str, cents: int) -> None:
    """Book money that has arrived at the second bank."""
    with closing(sqlite3.connect(SECOND, timeout=30)) as bank, current_job().inbox(bank):
        bank.execute("UPDATE accounts SET cents = cents + ? WHERE name = ?", (cents, account))


def transfer(bank: sqlite3.Connection, outbox: Outbox, account: str, cents: int) -> None:
    """Take money from the first bank, and send it to the same person at the second one."""
    bank.execute("UPDATE accounts SET cents = cents - ? WHERE name = ?", (cents, account))
    outbox.enqueue(bank, pay_in, account, cents)
    (left,) = bank.execute("SELECT cents FROM accounts WHERE name = ?", (account,)).fetchone()
    if left < 0:
        bank.rollback()  # and so there is no job
        print(f"  {account} has not got {cents} cents", flush=True)
    else:
        bank.commit()
        print(f"  {cents} cents of {account} are on their way", flush=True)


def main() -> None:
    """Transfer until nobody has much left, and compare the books."""
    open_books()
    cluster = ClusterSettings.from_environment()
    draw, outbox = random.Random(2013), Outbox(pipeline, source="/bank/first")
    worker = Worker(pipeline, cluster)
    worker.start()
    try:
        with OutboxRelay(pipeline, url_of(FIRST), cluster), closing(sqlite3.connect(FIRST, timeout=30)) as bank:
            for _ in range(TRANSFERS):
                transfer(bank, outbox, draw.choice(ACCOUNTS), draw.randrange(1, CENTS // 4))
            wait_until_balanced()
    finally:
        worker.stop()
    print(f"first bank {book(FIRST)}, second bank {book(SECOND)}: {total()} cents as in the beginning", flush=True)


def open_books() -> None:
    """All money is in the first bank."""
    create_outbox(url_of(FIRST))
    create_inbox(url_of(SECOND))
    for file, cents in ((FIRST, CENTS), (SECOND, 0)):
        with closing(sqlite3.connect(file)) as bank:
            bank.execute("PRAGMA journal_mode=WAL")  # readers and the relay hold up no transfer
            bank.execute("CREATE TABLE accounts (name TEXT PRIMARY KEY, cents INTEGER NOT NULL)")
            bank.executemany("INSERT INTO accounts VALUES (?, ?)", [(name, cents) for name in ACCOUNTS])
            bank.commit()


def url_of(file: Path) -> str:
    """A file as commands and the relay take it."""
    return f"sqlite:///{file}"


def book(file: Path) -> dict[str, int]:
    """{name: cents} of a bank."""
    with closing(sqlite3.connect(file)) as bank:
        return dict(bank.execute("SELECT name, cents FROM accounts ORDER BY name").fetchall())


def total() -> int:
    """All money of both banks; less while some is on its way."""
    return sum(book(FIRST).values()) + sum(book(SECOND).values())


def wait_until_balanced() -> None:
    """Wait until nothing is on its way."""
    give_up_at_s = time.monotonic() + DEADLINE_S
    while total() < len(ACCOUNTS) * CENTS:
        if time.monotonic() > give_up_at_s:
            raise TimeoutError(f"{total()} cents after {DEADLINE_S:g} s; the outbox: {outbox_status(url_of(FIRST))}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
