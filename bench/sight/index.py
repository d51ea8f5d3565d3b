"""`index`: what the index of jobs costs: CPU for each entry, bytes for each job, and its answers while entries come."""

from __future__ import annotations

import copy
import multiprocessing
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final

from cluster import Site
from figures import Figure, Measure, Sizes, Values, below, percentile

from stoker.operations.job_index.bulk_fill import WRITE_AT
from stoker.operations.job_index.database import open_for_writing, steps_to_finish, throw_away
from stoker.operations.job_index.entries import HistoryEntry, JobEntry, shown_id
from stoker.operations.job_index.index_reader import IndexReader
from stoker.operations.job_index.index_writer import IndexWriter
from stoker.operations.job_index.job_filter import JobFilter
from stoker.operations.job_index.job_history import find_history
from stoker.operations.job_index.states import State, step_of_record, step_of_state
from stoker.topology import Pipeline
from stoker.topology.declaration.topics import Role

LIVE_BATCH: Final = 5_000
TYPES: Final = 60
QUEUES: Final = 12
TENANTS: Final = 500
KEYS: Final = 1_500_000
FAILURES: Final = 400
LIVE_S: Final = 60.0
ANSWER_S: Final = 60.0
LIVE_PER_S: Final = 10_000
_ENQUEUED: Final = step_of_record(1, Role.MAIN)
_DONE: Final = step_of_state(1, State.DONE)
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
    draw = chance.random
    types = [f"type-{number}" for number in range(TYPES)]
    queues = [f"queue-{number % QUEUES}" for number in range(TYPES)]
    topics = [f"shop.{queue}" for queue in queues]
    tenants = [f"tenant-{int(TENANTS * (number / 4096) ** 3)}" for number in range(4096)]
    for number in range(jobs):
        at_ms = from_ms + number * 86_400_000 // jobs
        kind = number * 7 % TYPES
        waiting = JobEntry(
            stored=at_ms.to_bytes(6, "big") + b"\x70\x00\x80" + chance.getrandbits(56).to_bytes(7, "big"),
            state=State.QUEUED,
            step=_ENQUEUED,
            at_ms=at_ms,
            life=0,
            job_type=types[kind],
            queue=queues[kind],
            topic=topics[kind],
            partition=number % 8,
            offset=number // 8,
            enqueued_ms=at_ms,
            tenant=tenants[int(draw() * 4096)],
            key=f"customer-{int(draw() * KEYS)}",
            source="shop-web",
        )
        yield waiting
        yield _end(waiting, chance)


def _end(waiting: JobEntry, chance: random.Random) -> JobEntry:
    fate, ended = chance.random(), copy.copy(waiting)
    ended.at_ms, ended.began_ms, ended.worker, ended.source = waiting.at_ms + 900, waiting.at_ms + 850, "worker-1", ""
    if fate >= 0.08:
        ended.state, ended.step, ended.took_us = State.DONE, _DONE, int(fate * 50_000)
        return ended
    ended.state = State.DEAD if fate < 0.03 else State.RETRYING
    ended.step = step_of_state(1, ended.state)
    failure = chance.randrange(FAILURES)
    item = HistoryEntry(
        kind="dead" if ended.state is State.DEAD else "retried",
        attempt=1,
        at_ms=ended.at_ms,
        began_ms=ended.began_ms,
        worker="worker-1",
        error_type=f"shop.Error{failure % 20}",
        fingerprint=f"{failure:016x}",
        message=f"{' '.join(chance.sample(_WORDS, 6))} {chance.randrange(10**6)} in step {failure}",
    )
    ended.history = [item]
    return ended


def fill(
    writer: IndexWriter, found: Iterator[JobEntry], *, size: int, per_s: float | None = None, for_s: float = 0.0
) -> tuple[int, float, float]:
    """Apply entries by the batch, at a pace if one is given; how many, the thread's CPU time, and the seconds."""
    began_at_s, cpu_s, wall_s, count = time.monotonic(), 0.0, 0.0, 0
    while per_s is None or time.monotonic() - began_at_s < for_s:
        batch = list(islice(found, size))
        if not batch:
            break
        before_s, before_cpu_s = time.monotonic(), time.thread_time()
        writer.apply(batch, [], {("shop.queue-0", 0): count})
        cpu_s += time.thread_time() - before_cpu_s
        wall_s += time.monotonic() - before_s
        count += len(batch)
        if per_s is not None:
            time.sleep(max(0.0, began_at_s + count / per_s - time.monotonic()))
    return count, cpu_s, wall_s


Question = Callable[[IndexReader, random.Random], object]


def questions(path: Path) -> dict[str, Question]:
    """{name: asks the index}, each with values that occur."""
    connection = sqlite3.connect(path)
    newest = connection.execute("SELECT max(n) FROM jobs").fetchone()[0]
    spread = ",".join(str(1 + at * newest // 500) for at in range(500))
    ids = [shown_id(key) for (key,) in connection.execute(f"SELECT id FROM jobs WHERE n IN ({spread})")]
    connection.close()
    pipeline = Pipeline("shop")
    declared = {name: pipeline.queue(name) for name in (f"queue-{number}" for number in range(QUEUES))}
    by_id: dict[str, Question] = {
        "by id": lambda reader, chance: reader.job(chance.choice(ids)),
        "life": lambda reader, chance: find_history(reader, chance.choice(ids), declared, datetime.now(UTC)),
    }
    by_filter: dict[str, Question] = {name: _lists(given) for name, given in FILTERS.items()}
    counted: dict[str, Question] = {f"counts {name}": _counts(by, since) for name, (by, since) in COUNTS.items()}
    return {**by_id, **by_filter, **counted}


def _lists(given: Callable[[random.Random], dict[str, Any]]) -> Question:
    return lambda reader, chance: reader.find(JobFilter(**given(chance)), 50)


def _counts(by: tuple[str, ...], since: timedelta | None) -> Question:
    return lambda reader, _chance: reader.counts(by, JobFilter(since=_ago(since) if since else None))


def _ago(span: timedelta) -> datetime:
    return datetime.now(UTC) - span


def _type(chance: random.Random) -> list[str]:
    return [f"type-{chance.randrange(TYPES)}"]


def _tenant(chance: random.Random) -> str:
    return f"tenant-{int(TENANTS * chance.random() ** 3)}"


HOUR: Final = timedelta(hours=1)
FILTERS: Final[dict[str, Callable[[random.Random], dict[str, Any]]]] = {
    "newest": lambda _: {},
    "key": lambda chance: {"key": f"customer-{chance.randrange(KEYS)}"},
    "tenant": lambda chance: {"tenant": _tenant(chance)},
    "type": lambda chance: {"types": _type(chance)},
    "queue": lambda chance: {"queues": [f"queue-{chance.randrange(QUEUES)}"]},
    "state": lambda chance: {"states": [chance.choice((State.DEAD, State.RETRYING, State.DONE))]},
    "time": lambda chance: {"until": _ago(timedelta(minutes=chance.randrange(1, 1_400)))},
    "error": lambda chance: {"error": f"Error{chance.randrange(20)}"},
    "fingerprint": lambda chance: {"fingerprint": f"{chance.randrange(FAILURES):016x}"},
    "words": lambda _: {"words": "card declined"},
    "rare word": lambda chance: {"words": str(chance.randrange(10**6))},
    "dead of a type": lambda chance: {"types": _type(chance), "states": [State.DEAD]},
    "dead of a tenant in an hour": lambda chance: {
        "tenant": _tenant(chance),
        "states": [State.DEAD],
        "since": _ago(HOUR),
    },
    "done of a tenant and type": lambda chance: {
        "tenant": _tenant(chance),
        "types": _type(chance),
        "states": [State.DONE],
    },
    "an error in an hour": lambda chance: {"error": f"Error{chance.randrange(20)}", "since": _ago(HOUR)},
    "an error of a type": lambda chance: {"error": f"Error{chance.randrange(20)}", "types": _type(chance)},
    "words of a type, dead": lambda chance: {
        "words": "refused limit",
        "types": _type(chance),
        "states": [State.DEAD],
    },
    "no worker has it": lambda chance: {"worker": "worker-1", "types": _type(chance), "states": [State.EXPIRED]},
}
COUNTS: Final[dict[str, tuple[tuple[str, ...], timedelta | None]]] = {
    "by queue and state": (("queue", "state"), None),
    "by all four": (("queue", "type", "state", "failure"), None),
    "by failure": (("failure",), None),
    "of an hour by type and state": (("type", "state"), HOUR),
    "of an hour by all four": (("queue", "type", "state", "failure"), HOUR),
}


def ask(path: Path, until: Event, answers: Queue[dict[str, list[float]]]) -> None:
    """Ask all questions in turn until told to stop; {question: seconds of each answer}. In a process of its own."""
    took: dict[str, list[float]] = {}
    chance, asked = random.Random(5), questions(path)
    with IndexReader(path) as reader:
        while not took or not until.is_set():
            for name, question in asked.items():
                began_at_s = time.monotonic()
                question(reader, chance)
                took.setdefault(name, []).append(time.monotonic() - began_at_s)
                time.sleep(0.01)
    answers.put(took)


def build(path: Path, jobs: int, from_ms: int) -> tuple[Values, IndexWriter]:
    """Build an index as a rebuild does, and what that cost; making up the entries does not count."""
    connection = open_for_writing(path)
    count, cpu_s, rows_s = fill(IndexWriter(connection), entries(jobs, 1, from_ms), size=WRITE_AT)
    began_at_s = time.monotonic()
    for _ in steps_to_finish(connection):
        pass
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    indexes_s = time.monotonic() - began_at_s
    values = {
        "rows_s": rows_s,
        "indexes_s": indexes_s,
        "build_s": rows_s + indexes_s,
        "entry_us": cpu_s / count * 1e6,
        "job_bytes": path.stat().st_size / jobs,
    }
    return values, IndexWriter(connection)


def measure(path: Path, jobs: int, seconds: float) -> tuple[Values, dict[str, float]]:
    """The figures of one index, and the 95th percentile of each question in ms."""
    now_ms = int(time.time() * 1e3)
    values, writer = build(path, jobs, now_ms - 86_400_000)
    spawn = multiprocessing.get_context("spawn")
    ended, answers = spawn.Event(), spawn.Queue()
    asking = spawn.Process(target=ask, args=(path, ended, answers))
    asking.start()
    live = entries(10_000_000, 2, now_ms)
    count, cpu_s, _ = fill(writer, live, size=LIVE_BATCH, per_s=LIVE_PER_S, for_s=seconds)
    ended.set()
    percentiles = {name: percentile(taken, 0.95) * 1e3 for name, taken in answers.get(timeout=ANSWER_S).items()}
    asking.join()
    writer.close()
    lists = {name: value for name, value in percentiles.items() if not name.startswith("counts")}
    return {
        **values,
        "live_per_s": count / seconds,
        "live_us": cpu_s / count * 1e6,
        "core": cpu_s / seconds,
        "slowest": max(lists.values()),
        "counts": max(value for name, value in percentiles.items() if name not in lists),
    }, percentiles


def _index(site: Site, sizes: Sizes, number: int) -> Values:
    path = site.folder / f"index-{number}.sqlite"
    values, percentiles = measure(path, sizes.jobs, min(sizes.seconds, LIVE_S))
    throw_away(path)
    site.progress(", ".join(f"{name} {value:.1f} ms" for name, value in percentiles.items()))
    return values


INDEX: Final = Measure(
    name="index",
    title=lambda sizes: (
        f"an index of {sizes.jobs:,} jobs, built as a rebuild does; then {LIVE_PER_S:,} entries/s come in for "
        f"{min(sizes.seconds, LIVE_S):g} s while it is asked"
    ),
    figures=(
        Figure(name="build_s", label="built in, s", unit="s"),
        Figure(name="rows_s", label="of it rows, s", unit="s"),
        Figure(name="indexes_s", label="of it indexes, s", unit="s"),
        Figure(name="entry_us", label="CPU per entry, µs", unit="µs", target=below(15)),
        Figure(name="job_bytes", label="bytes on disk per job", unit="jobs", target=below(250)),
        Figure(name="live_per_s", label="entries/s that came in", unit="/s"),
        Figure(name="live_us", label="CPU per entry meanwhile, µs", unit="µs", target=below(50)),
        Figure(name="core", label="share of a core meanwhile", unit="ratio", target=below(0.5)),
        Figure(name="slowest", label="slowest list, p95, ms", unit="ms", target=below(300)),
        Figure(name="counts", label="slowest counts, p95, ms", unit="ms", target=below(200)),
    ),
    run=_index,
)
