"""The process that enqueues the streams (`python -m chaos.sharing.asking '<json of Duty>'`), and its notes.

It may be killed at any moment. Started again, it goes on under other job ids: what was sent and not confirmed may run.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, TypedDict

from chaos.fleet.operating import Duty
from chaos.fleet.producing import Pace, insist_start
from chaos.notes import NoteFile, Tally
from chaos.sharing.ledger import CONFIRMED, FAILED, KNOWN, REFUSED, UNKNOWN, Openings
from chaos.sharing.streams import KEYS, LIMITS, PATIENT, USUAL, Sizes, Stream, streams
from stoker.producers import EnqueueError, Producer, Receipt
from stoker.producers.errors import QueueFull
from stoker.topology import ClusterSettings, JobType
from stoker.topology.declaration.job_type import JobCall

BREATH_S: Final = 0.1
UNTIL_RATIO: Final = 0.8
ENDING_S: Final = 20.0
SAID: Final = {"jobs wait is not known": UNKNOWN, "jobs wait is known again": KNOWN}


class _Options(TypedDict, total=False):
    key: str
    tenant: str
    priority: str


class _KnownNotes(logging.Handler):
    """Notes when the producer logs that it does not know how many jobs wait, and so admits all, or knows it again."""

    def __init__(self, notes: NoteFile) -> None:
        super().__init__()
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        """Note it."""
        said = record.getMessage()
        for words, mark in SAID.items():
            if words in said:
                self._notes.append(f"{mark} - {said.split(chr(39))[1]} - 0")


class Asker:
    """Keeps the stock of each stream, and notes what the brokers have taken and what was refused."""

    def __init__(self, duty: Duty) -> None:
        from chaos.fleet.app import pipeline

        self._duty = duty
        self._types: dict[str, JobType[Any, Any]] = dict(pipeline.job_types)
        self._producer = Producer(pipeline, ClusterSettings(bootstrap_servers=duty.servers), source="/chaos")
        folder = Path(duty.folder)
        self._notes, self._openings = NoteFile(folder, "asked"), Openings(folder)
        self._ends = Tally(folder, "runs", b"E ")
        self._numbers = count()
        self._pending: Counter[tuple[str, str]] = Counter()
        self._lock, self._ending = threading.Lock(), threading.Event()
        logger = logging.getLogger("stoker.producers")
        logger.setLevel(logging.INFO)
        logger.addHandler(_KnownNotes(self._notes))

    def run(self) -> None:
        """Ask until most jobs of the run are completed."""
        insist_start(self._producer)
        waiting = threading.Thread(target=self._wait_for_room, name="patient", daemon=True)
        waiting.start()
        asked = streams(Sizes.parse(os.environ.get(LIMITS, str(USUAL))))
        paces = {(stream, scope): Pace(stream.per_s) for stream in asked if stream.per_s for scope in stream.scopes}
        while self._ends.look() < UNTIL_RATIO * self._duty.jobs:
            opened = self._openings.look()
            for stream in asked:
                for scope in stream.scopes:
                    pace = paces.get((stream, scope))
                    self._ask(stream, scope, self._missing(stream, scope, opened) if pace is None else pace.due())
            time.sleep(BREATH_S)
        self._ending.set()
        self._producer.close()
        waiting.join(ENDING_S)

    def _missing(self, stream: Stream, scope: str, opened: dict[tuple[str, str], int]) -> int:
        name = (stream.job_type, scope)
        return stream.stock - opened.get(name, 0) - self._pending[name]

    def _ask(self, stream: Stream, scope: str, many: int) -> None:
        for _ in range(many):
            job_id, asked_ns = self._next(), time.monotonic_ns()
            name = f"{job_id} {stream.job_type} {scope} {asked_ns}"
            try:
                future = self._producer.send_future(self._call(stream, scope, job_id))
            except EnqueueError as error:
                self._note_failure(name, error)
                continue
            with self._lock:
                self._pending[stream.job_type, scope] += 1
            future.add_done_callback(partial(self._note, name, (stream.job_type, scope)))

    def _call(self, stream: Stream, scope: str, job_id: str) -> JobCall:
        job = self._types[stream.job_type]
        return job.with_options(job_id=job_id, **self._options(stream.job_type, scope)).call(scope, stream.wait_ms)

    def _options(self, job_type: str, scope: str) -> _Options:
        match job_type:
            case "ranked":
                return {"key": f"key-{next(self._numbers) % KEYS}", "priority": scope}
            case "bounded" | "patient":
                return {}
            case "key_bound":
                return {"key": scope, "tenant": scope}
            case _:
                return {"tenant": scope}

    def _next(self) -> str:
        return f"turn-{os.getpid()}-{next(self._numbers)}"

    def _note(self, name: str, scope: tuple[str, str], future: Future[Receipt]) -> None:
        with self._lock:
            self._pending[scope] -= 1
        error = future.exception()
        if error is None:
            self._notes.append(f"{CONFIRMED} {name}")
        else:
            self._note_failure(name, error)

    def _note_failure(self, name: str, error: BaseException) -> None:
        self._notes.append(f"{REFUSED if isinstance(error, QueueFull) else FAILED} {name}")

    def _wait_for_room(self) -> None:
        """Enqueue one by one where the producer waits while the queue is full."""
        while not self._ending.is_set():
            job_id, asked_ns = self._next(), time.monotonic_ns()
            name = f"{job_id} {PATIENT.job_type} {PATIENT.scopes[0]} {asked_ns}"
            try:
                self._producer.send(self._call(PATIENT, PATIENT.scopes[0], job_id))
            except EnqueueError as error:
                self._note_failure(name, error)
                self._ending.wait(BREATH_S)
            else:
                self._notes.append(f"{CONFIRMED} {name}")


if __name__ == "__main__":
    given = Duty(**json.loads(sys.argv[1]))
    os.environ["CHAOS_FOLDER"] = given.folder
    Asker(given).run()
