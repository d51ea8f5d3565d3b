"""`index`: what the index of jobs costs: CPU for each entry, bytes for each job, and its answers while entries come."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

from cluster import Site
from figures import Figure, Measure, Sizes, Values, below, percentile

from stoker.operations.job_index.database import open_for_writing
from stoker.operations.job_index.entries import JobEntry, Setback
from stoker.operations.job_index.queries import IndexReader, JobFilter
from stoker.operations.job_index.states import State, step_of_record, step_of_state
from stoker.operations.job_index.writing import IndexWriter
from stoker.topology.declaration.topics import Role

BATCH: Final = 5_000
TYPES: Final = 60
TENANTS: Final = 500
KEYS: Final = 150_000
FAILURES: Final = 400
LIVE_S: Final = 15.0
ANSWER_S: Final = 60.0
LIVE_PER_S: Final = 10_000
_WORDS: Final = [
    "card",
    "declined",
    "account",
    "timeout",
    "address",
    "invoice",
    "refused",
    "gateway",
    "missing",
    "limit",
    "order",
    "customer",
]


def entries(jobs: int, seed: int, from_ms: int) -> Iterator[JobEntry]:
    """The entries of so many jobs over a day: each is enqueued, most are done, one in twelve fails first."""
    chance = random.Random(seed)
    for number in range(jobs):
        at_ms = from_ms + number * 86_400_000 // jobs
        job_id = str(uuid.UUID(int=(at_ms << 80) | (7 << 76) | (2 << 62) | chance.getrandbits(62)))
        kind = number * 7 % TYPES
        shared = {
            "job_id": job_id,
            "life": 0,
            "job_type": f"type-{kind}",
            "queue": f"queue-{kind % 12}",
            "partition": number % 8,
            "offset": number // 8,
            "enqueued_ms": at_ms,
            "tenant": f"tenant-{int(TENANTS * chance.random() ** 3)}",
            "key": f"customer-{chance.randrange(KEYS)}",
        }
        yield _entry(shared, State.WAITING, step_of_record(1, Role.MAIN), at_ms)
        yield _end(shared, chance, at_ms)


def _end(shared: dict[str, object], chance: random.Random, at_ms: int) -> JobEntry:
    fate = chance.random()
    if fate >= 0.08:
        done = _entry(shared, State.DONE, step_of_state(1, State.DONE), at_ms + 900)
        done.began_ms, done.took_us, done.worker = at_ms + 850, chance.randrange(50_000), "worker-1"
        return done
    state = State.DEAD if fate < 0.03 else State.RETRYING
    failure = chance.randrange(FAILURES)
    message = f"{' '.join(chance.sample(_WORDS, 6))} {chance.randrange(10**6)} in step {failure}"
    entry = _entry(shared, state, step_of_state(1, state), at_ms + 900)
    kind = "dead" if state is State.DEAD else "retried"
    entry.setbacks = [
        Setback(
            kind=kind,
            attempt=1,
            at_ms=at_ms + 900,
            began_ms=at_ms + 850,
            worker="worker-1",
            error_type=f"shop.Error{failure % 20}",
            fingerprint=f"{failure:016x}",
            message=message,
        )
    ]
    return entry


def _entry(shared: dict[str, object], state: State, step: int, at_ms: int) -> JobEntry:
    return JobEntry(state=state, step=step, at_ms=at_ms, topic=f"shop.{shared['queue']}", **shared)  # type: ignore[arg-type]


def fill(
    writer: IndexWriter, found: Iterator[JobEntry], *, per_s: float | None = None, for_s: float = 0.0
) -> tuple[int, float]:
    """Apply entries by the batch, at a pace if one is given; how many, and the thread's CPU time."""
    began_s, cpu_s, count = time.monotonic(), 0.0, 0
    while per_s is None or time.monotonic() - began_s < for_s:
        batch = [entry for entry, _ in zip(found, range(BATCH), strict=False)]
        if not batch:
            break
        before_s = time.thread_time()
        writer.apply(batch, [], {("shop.queue-0", 0): count})
        cpu_s += time.thread_time() - before_s
        count += len(batch)
        if per_s is not None:
            time.sleep(max(0.0, began_s + count / per_s - time.monotonic()))
    return count, cpu_s


def questions(path: Path) -> dict[str, Callable[[IndexReader, random.Random], object]]:
    """{name: asks the index}, each with values that occur."""
    newest = datetime.now(UTC)
    connection = sqlite3.connect(path)
    ids = [str(uuid.UUID(bytes=row[0])) for row in connection.execute("SELECT id FROM jobs LIMIT 500")]
    connection.close()

    def find(**named: object) -> Callable[[IndexReader, random.Random], object]:
        return lambda reader, _chance: reader.find(JobFilter(**named), 50)  # type: ignore[arg-type]

    return {
        "by id": lambda reader, chance: reader.job(chance.choice(ids)),
        "newest": find(),
        "dead of a type": lambda reader, chance: reader.find(
            JobFilter(types=[f"type-{chance.randrange(TYPES)}"], states=[State.DEAD]), 50
        ),
        "by key": lambda reader, chance: reader.find(JobFilter(key=f"customer-{chance.randrange(KEYS)}"), 50),
        "dead of a tenant": lambda reader, chance: reader.find(
            JobFilter(tenant=f"tenant-{chance.randrange(TENANTS)}", states=[State.DEAD]), 50
        ),
        "tenant and type": lambda reader, chance: reader.find(
            JobFilter(tenant=f"tenant-{chance.randrange(TENANTS)}", types=[f"type-{chance.randrange(TYPES)}"]), 50
        ),
        "words": find(words="card declined"),
        "failure": lambda reader, chance: reader.find(JobFilter(fingerprint=f"{chance.randrange(FAILURES):016x}"), 50),
        "last hour of an error": find(error="Error3", since=newest - timedelta(hours=1)),
        "counts": lambda reader, _chance: reader.counts(("queue", "type", "state", "failure"), JobFilter()),
        "counts of an hour": lambda reader, _chance: reader.counts(
            ("type", "state"), JobFilter(since=newest - timedelta(hours=1))
        ),
    }


def ask(path: Path, until: Event, answers: Queue[dict[str, list[float]]]) -> None:
    """Ask all questions in turn until told to stop; {question: seconds of each answer}. In a process of its own."""
    took: dict[str, list[float]] = {}
    chance, asked = random.Random(5), questions(path)
    with IndexReader(path) as reader:
        while not until.is_set():
            for name, question in asked.items():
                began_s = time.monotonic()
                question(reader, chance)
                took.setdefault(name, []).append(time.monotonic() - began_s)
                time.sleep(0.01)
    answers.put(took)


def measure(path: Path, jobs: int) -> tuple[Values, dict[str, float]]:
    """The figures of one index, and the 95th percentile of each question in ms."""
    connection = open_for_writing(path)
    writer = IndexWriter(connection)
    day_ms = int(time.time() * 1e3) - 86_400_000
    began_s = time.monotonic()
    count, cpu_s = fill(writer, entries(jobs, 1, day_ms))
    built_s = time.monotonic() - began_s
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    live = entries(10_000_000, 2, day_ms + 86_400_000)
    spawn = multiprocessing.get_context("spawn")
    ended, answers = spawn.Event(), spawn.Queue()
    asking = spawn.Process(target=ask, args=(path, ended, answers))
    asking.start()
    live_count, live_cpu_s = fill(writer, live, per_s=LIVE_PER_S, for_s=LIVE_S)
    ended.set()
    percentiles = {name: percentile(seconds, 0.95) * 1e3 for name, seconds in answers.get(timeout=ANSWER_S).items()}
    asking.join()
    writer.close()
    values = {
        "build_s": built_s,
        "entry_us": cpu_s / count * 1e6,
        "job_bytes": size / jobs,
        "live_per_s": live_count / LIVE_S,
        "live_us": live_cpu_s / live_count * 1e6,
        "slowest": max(value for name, value in percentiles.items() if not name.startswith("counts")),
        "counts": max(value for name, value in percentiles.items() if name.startswith("counts")),
    }
    return values, percentiles


def _index(site: Site, sizes: Sizes, number: int) -> Values:
    values, percentiles = measure(site.folder / f"index-{number}.sqlite", sizes.jobs)
    site.progress(", ".join(f"{name} {value:.1f} ms" for name, value in percentiles.items()))
    return values


INDEX: Final = Measure(
    name="index",
    title=lambda sizes: (
        f"an index of {sizes.jobs:,} jobs; then {LIVE_PER_S:,} entries/s come in for {LIVE_S:g} s while it is asked"
    ),
    figures=(
        Figure(name="build_s", label="built in, s", unit="s"),
        Figure(name="entry_us", label="CPU per entry, µs", unit="µs", target=below(50)),
        Figure(name="job_bytes", label="bytes on disk per job", unit="jobs", target=below(250)),
        Figure(name="live_per_s", label="entries/s that came in", unit="/s"),
        Figure(name="live_us", label="CPU per entry meanwhile, µs", unit="µs"),
        Figure(name="slowest", label="slowest list, p95, ms", unit="ms", target=below(300)),
        Figure(name="counts", label="slowest counts, p95, ms", unit="ms", target=below(200)),
    ),
    run=_index,
)
