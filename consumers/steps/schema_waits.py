"""`SchemaWaits`: asks the schema store for the schemas of records that wait for theirs at the gates.

A schema that cannot be asked for is not an unknown one. While the store does not answer, its records wait in memory, in
their lanes, at no attempt's cost; all others go on. One thread asks, so that no runner, poll thread or event loop waits
for a slow store.

An outage is known once a question has failed. Until then, up to `ASK_TIMEOUT_S`, a flood of schemas counts as unknown
unasked: its records are deferred, and one that was deferred for the first time too long ago becomes a dead letter.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ...schemas import SchemaStore, StoreError
from ...topology.counts import counted_doing
from ...topology.log_pace import LogPace
from .. import log_keys
from ..gates.gate import Wait
from ..gates.wait_set import WaitSet
from ..gates.waiting_view import WaitingView
from ..guarded_thread import GuardedThread
from ..records.record import Record

_LOGGER = logging.getLogger("stoker.worker")

ASK_TIMEOUT_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 5.0
"""How long the store is left alone after it has not answered; a pause is twice the one before it."""
ASK_EVERY_S: Final = 1.0
"""A flood of unknown schemas must not become a flood of questions."""
LOG_INTERVAL_S: Final = 600.0
"""How often an outage that lasts is logged."""
UNKNOWN_FOR_S: Final = 10.0
"""How long the answer "unknown" holds for records that come after it. Those that have waited for it are deferred."""
MAX_SCHEMAS: Final = 64
"""Schemas that are asked for at a time. Further ones, as bad bytes name them, count as unknown without a question."""

FrameId = bytes | int
Receive = Callable[[list[Record]], None]


@dataclass(frozen=True, slots=True)
class AwaitedSchema:
    """The `Why` of records whose schema is not at hand."""

    frame_id: FrameId
    trouble: Callable[[], str | None] = field(default=lambda: None, compare=False, repr=False)

    @property
    def state(self) -> str:
        """The state of the job in a word."""
        return "awaiting-schema"

    @property
    def detail(self) -> Mapping[str, str]:
        """Why the schema store could not be asked."""
        return {"trouble": self.trouble() or "it is being asked for"}


class SchemaAwaited(Exception):
    """The schema is not at hand: the record waits until the store was asked for it."""

    def __init__(self, why: AwaitedSchema) -> None:
        super().__init__(why)
        self.why = why


class SchemaWaits:
    """Asks for one queue; its records wait in `wait_set`. Safe to call from several threads.

    Attributes:
        thread: what asks; the worker stops where it crashes, or records would wait for ever.
    """

    def __init__(
        self,
        store: SchemaStore,
        queue: str,
        wait_set: WaitSet,
        at_gates: WaitingView,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._queue, self._clock = store, queue, clock
        self._wait_set, self._at_gates = wait_set, at_gates
        self._changed = threading.Condition()
        self._unknown: dict[FrameId, float] = {}
        self._outage: StoreError | None = None
        self._log_pace = LogPace(LOG_INTERVAL_S)
        self._is_stopping = False
        self._defer: Receive = lambda _records: None
        self.thread = GuardedThread(f"stoker-schemas-{queue}", self._run)

    @property
    def trouble(self) -> str | None:
        """Why the store could not be asked; None while it can."""
        outage = self._outage
        return None if outage is None else str(outage)

    def start(self, defer: Receive) -> None:
        """Begin to ask; `defer` is given the records of unknown schemas."""
        self._defer = defer
        self.thread.start()

    def stop(self) -> None:
        """End; what waits is left to be delivered again."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def note_held(self, wait: Wait) -> None:
        """Note that a step has sent a record back, which may wait for a schema that is not asked for yet."""
        if isinstance(wait.why, AwaitedSchema):
            with self._changed:
                self._changed.notify()

    def learn(self, frame_id: FrameId) -> None:
        """Return where the store does not know the schema, or is not to be asked: it counts as unknown.

        Raises:
            SchemaAwaited: the store is to be asked first.
        """
        with self._changed:
            unknown_s = self._unknown.get(frame_id)
            if unknown_s is not None and self._clock() - unknown_s < UNKNOWN_FOR_S:
                return
            asked = self._frames()
            is_flood = len(asked) >= MAX_SCHEMAS and frame_id not in asked and self._outage is None
        if not is_flood:
            raise SchemaAwaited(AwaitedSchema(frame_id, lambda: self.trouble))

    def _frames(self) -> list[FrameId]:
        """The schemas that records wait for."""
        return [why.frame_id for why in self._at_gates.whys() if isinstance(why, AwaitedSchema)]

    # ---- the thread that asks

    def _run(self) -> None:
        try:
            pause_s = FIRST_PAUSE_S
            while frames := self._next_frames():
                if self._ask(frames):
                    pause_s = FIRST_PAUSE_S
                    self._rest(ASK_EVERY_S)
                else:
                    self._rest(pause_s)
                    pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
        except Exception:
            if not self._is_stopping:  # else its store may be closed already
                raise

    def _next_frames(self) -> list[FrameId]:
        """Wait for something to ask for; empty at the end."""
        with self._changed:
            while not (frames := self._frames()) and not self._is_stopping:
                self._changed.wait()
            return [] if self._is_stopping else frames[:MAX_SCHEMAS]

    def _rest(self, for_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping, for_s)

    def _ask(self, frames: list[FrameId]) -> bool:
        """Ask for these, and release what that settles; False where the store does not answer."""
        unknown = [frame_id for frame_id in frames if self._store.writer_schema(frame_id) is None]
        try:
            if unknown:
                self._store.refresh(ASK_TIMEOUT_S)
        except StoreError as error:
            self._note_outage(error)
            self._let_go([frame_id for frame_id in frames if self._store.writer_schema(frame_id) is not None])
            return False
        unknown = [frame_id for frame_id in unknown if self._store.writer_schema(frame_id) is None]
        self._note_answer(unknown)
        self._defer(
            self._wait_set.pop(map(AwaitedSchema, unknown))
        )  # at once: a runner may be free only when the answer holds no more
        self._let_go(frames)
        return True

    def _let_go(self, frames: list[FrameId]) -> None:
        for frame_id in frames:
            self._wait_set.release(AwaitedSchema(frame_id))

    def _note_answer(self, unknown: list[FrameId]) -> None:
        now_s = self._clock()
        with self._changed:
            was_out, self._outage = self._outage is not None, None
            lasting = {frame_id: at_s for frame_id, at_s in self._unknown.items() if now_s - at_s < UNKNOWN_FOR_S}
            self._unknown = {**lasting, **dict.fromkeys(unknown, now_s)}
        if was_out:
            self._log_pace.begin_anew()
            _LOGGER.info("the schema store answers again", extra={log_keys.QUEUE: self._queue})

    def _note_outage(self, error: StoreError) -> None:
        """Log it at once, and again once an interval while it lasts."""
        self._outage = error
        if not self._log_pace.try_acquire(self._clock()):
            return
        waiting = self._at_gates.count_of(AwaitedSchema)
        _LOGGER.warning(
            "queue %r: %s for a schema: %s. This ends when the store answers, and costs no attempt; jobs whose schema "
            "is known go on", self._queue, counted_doing(waiting, "job", "wait"), error,
            extra={log_keys.QUEUE: self._queue, log_keys.COUNT: waiting},
        )  # fmt: skip
