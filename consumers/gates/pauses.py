"""`Pauses`: the gate that holds paused jobs: all of a queue, or those of a type, key, tenant or partition.

`Worker.pause` makes a pause for this process. An order makes one for all processes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

from ...schemas import wire_text
from ...topology.wire.headers import JOB_TYPE
from .. import log_keys
from ..records.field_index import FieldIndex, Fields
from ..records.record import Record
from .gate import START, Gate, Start, Wait

if TYPE_CHECKING:
    from .gate_row import GateRow

_LOGGER = logging.getLogger("stoker.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """The order that a pause comes from.

    Attributes:
        state: of the jobs, in a word: `paused`, `blocked` or `quiet`.
        operator, reason: who ordered it, and why; the latter may be empty.
        until_at_s: when it is over, in epoch seconds; None where it is to be lifted.
        lift: the command that lifts it.
    """

    order_id: str
    state: str
    operator: str
    reason: str
    until_at_s: float | None
    lift: str

    @property
    def ends_by(self) -> str:
        """The event that ends the wait, and the operator who wanted the wait, for people."""
        who = f"(by {self.operator}{f': {self.reason}' if self.reason else ''})"
        if self.until_at_s is None:
            return f"`{self.lift}` {who}"
        return f"{datetime.fromtimestamp(self.until_at_s, UTC):%Y-%m-%dT%H:%M:%SZ}, or `{self.lift}` {who}"


@dataclass(frozen=True, slots=True)
class Pause:
    """Which jobs of a queue wait; also the `Why` of their records.

    Attributes:
        queue: its name.
        job_type, key, tenant, partition: only jobs of these; None for all.
        ordered: the order that it comes from; None of `Worker.pause`.
    """

    queue: str
    job_type: str | None = None
    key: bytes | None = None
    tenant: str | None = None
    partition: int | None = None
    ordered: Ordered | None = None

    @property
    def state(self) -> str:
        """The state of the jobs in a word: `paused`."""
        return "paused" if self.ordered is None else self.ordered.state

    @property
    def detail(self) -> Mapping[str, str]:
        """The event that ends the wait."""
        ends_by = f"Worker.resume({self._arguments()})" if self.ordered is None else self.ordered.ends_by
        return {"ends_by": ends_by}

    @property
    def until_at_s(self) -> float | None:
        """When it is over, in epoch seconds; None where it is to be ended."""
        return None if self.ordered is None else self.ordered.until_at_s

    @property
    def fields(self) -> Fields:
        """The fields of a paused job's record; None for each one that does not matter."""
        return (
            None if self.job_type is None else self.job_type.encode(),
            self.key,
            None if self.tenant is None else self.tenant.encode(),
            self.partition,
        )

    def __str__(self) -> str:
        """Which jobs these are, for logs."""
        of_type = f" of type {self.job_type!r}" if self.job_type is not None else ""
        of_key = f" of key {wire_text(self.key)!r}" if self.key is not None else ""
        of_tenant = f" of tenant {self.tenant!r}" if self.tenant is not None else ""
        within = f" in partition {self.partition}" if self.partition is not None else ""
        return f"the jobs{of_type}{of_key}{of_tenant}{within} of queue {self.queue!r}"

    def _arguments(self) -> str:
        of_type = f", job_type={self.job_type!r}" if self.job_type is not None else ""
        of_key = f", key={wire_text(self.key)!r}" if self.key is not None else ""
        return f"{self.queue!r}{of_type}{of_key}"


class Pauses(Gate):
    """The pauses of one queue in this process. Safe to call from all threads."""

    def __init__(self, row: GateRow) -> None:
        self._row = row
        self._lock = Lock()
        self._standing: dict[Pause, None] = {}
        self._at: dict[Fields, list[Pause]] = {}
        self._waits = FieldIndex[Wait]()

    @property
    def is_resting(self) -> bool:
        """Whether nothing is paused."""
        return not self._standing

    @property
    def standing(self) -> tuple[Pause, ...]:
        """The pauses that stand, in the order in which they began."""
        with self._lock:
            return tuple(self._standing)

    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """Records of paused types, keys, tenants and partitions may not."""
        for wait in self._waits.of((record.header(JOB_TYPE), record.key, record.tenant, record.partition)):
            if wait.until_at_s is None or wait.until_at_s > now_s:
                return wait
        return START

    def begin(self, pause: Pause) -> None:
        """Let these jobs wait from now on; jobs that run go on."""
        with self._lock:
            if pause in self._standing:
                return
            self._standing[pause] = None
            self._at.setdefault(pause.fields, []).append(pause)
            self._note_longest(pause.fields)
        self._row.note_resting()
        _LOGGER.info("%s: %s%s", pause.state, pause, _by(pause), extra={log_keys.QUEUE: pause.queue})

    def end(self, pause: Pause) -> None:
        """Let these jobs start again, unless another pause holds them too."""
        with self._lock:
            if pause not in self._standing:
                return
            del self._standing[pause]
            self._at[pause.fields].remove(pause)
            self._note_longest(pause.fields)
        self._row.note_resting()
        self._row.wait_set.release(pause)
        _LOGGER.info("resumed: %s", pause, extra={log_keys.QUEUE: pause.queue})

    def _note_longest(self, fields: Fields) -> None:
        """Have records of these fields wait for the pause that ends last; of equal ones, for the earliest."""
        pauses = self._at[fields]
        if not pauses:
            del self._at[fields]
            self._waits.remove(fields)
            return
        longest = max(pauses, key=lambda pause: math.inf if pause.until_at_s is None else pause.until_at_s)
        wait = self._waits.get(fields)
        if wait is None or wait.why != longest:
            self._waits.put(fields, Wait(until_at_s=longest.until_at_s, why=longest))


def _by(pause: Pause) -> str:
    return "" if pause.ordered is None else f", until {pause.ordered.ends_by}"
