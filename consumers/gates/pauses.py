"""`Pauses`: lets the jobs of a queue wait, or those of a type or a key, until a person resumes them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from ...schemas import wire_text
from ...topology.wire.headers import JOB_TYPE
from .. import log_keys
from ..records.record import Record
from .gate import START, Gate, Start, Wait

if TYPE_CHECKING:
    from .gate_row import GateRow

_LOGGER = logging.getLogger("stoker.worker")


@dataclass(frozen=True, slots=True)
class Pause:
    """Which jobs of a queue wait; also the `Why` of their records.

    Attributes:
        queue: its name.
        job_type: only jobs of this type; None for all.
        key: only jobs of this key; None for all.
    """

    queue: str
    job_type: str | None = None
    key: bytes | None = None

    @property
    def word(self) -> str:
        """In a word."""
        return "paused"

    @property
    def detail(self) -> Mapping[str, str]:
        """The call that ends it."""
        return {"opens": f"Worker.resume({self._arguments()})"}

    def __str__(self) -> str:
        """Which jobs these are, for logs."""
        of_type = f" of type {self.job_type!r}" if self.job_type is not None else ""
        of_key = f" of key {wire_text(self.key)!r}" if self.key is not None else ""
        return f"the jobs{of_type}{of_key} of queue {self.queue!r}"

    def _arguments(self) -> str:
        of_type = f", job_type={self.job_type!r}" if self.job_type is not None else ""
        of_key = f", key={wire_text(self.key)!r}" if self.key is not None else ""
        return f"{self.queue!r}{of_type}{of_key}"


class Pauses(Gate):
    """The pauses of one queue in this process. Safe to call from all threads."""

    def __init__(self, row: GateRow) -> None:
        self._row = row
        self._lock = Lock()
        self._waits: dict[tuple[bytes | None, bytes | None], Wait] = {}
        self._standing: tuple[Pause, ...] = ()

    @property
    def is_resting(self) -> bool:
        """Whether nothing is paused."""
        return not self._standing

    @property
    def standing(self) -> tuple[Pause, ...]:
        """The pauses that stand, in the order in which they began."""
        return self._standing

    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """Records of paused types and keys may not."""
        job_type, key = record.header(JOB_TYPE), record.key
        for place in ((None, None), (job_type, None), (None, key), (job_type, key)):
            wait = self._waits.get(place)
            if wait is not None:
                return wait
        return START

    def begin(self, pause: Pause) -> None:
        """Let these jobs wait from now on; jobs that run go on."""
        with self._lock:
            if pause in self._standing:
                return
            self._waits[_place_of(pause)] = Wait(until_at_s=None, why=pause)
            self._standing += (pause,)
        self._row.note_resting()
        _LOGGER.info("paused: %s", pause, extra={log_keys.QUEUE: pause.queue})

    def end(self, pause: Pause) -> None:
        """Let these jobs start again, unless another pause holds them too."""
        with self._lock:
            if pause not in self._standing:
                return
            del self._waits[_place_of(pause)]
            self._standing = tuple(other for other in self._standing if other != pause)
        self._row.note_resting()
        self._row.release(pause)
        _LOGGER.info("resumed: %s", pause, extra={log_keys.QUEUE: pause.queue})


def _place_of(pause: Pause) -> tuple[bytes | None, bytes | None]:
    return None if pause.job_type is None else pause.job_type.encode(), pause.key
