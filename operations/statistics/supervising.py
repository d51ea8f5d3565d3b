"""`Supervisor`: keeps one Faust process counting, and starts another one in its place when it dies or stalls."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaException

from .group_offsets import GroupOffsets
from .messages import ProcessSettings
from .process import FaustProcess
from .watch import Watch

_LOGGER = logging.getLogger("stoker.statistics")

TURN_S: Final = 0.25
LOOK_S: Final = 2.0
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
STEADY_S: Final = 60.0
"""A process that has counted for so long was well: the next pause is a short one again."""
_COUNTS: Final = ("events", "jobs", "unreadable", "outside")


@dataclass(slots=True, kw_only=True)
class Course:
    """How the statistics go.

    Attributes:
        events, jobs, unreadable, outside: counted by all processes of this supervisor so far.
        behind: events that its partitions have, and that are not counted; None before that is known of the process
            that runs.
        restarts: processes that were started in place of another one.
    """

    events: int = 0
    jobs: int = 0
    unreadable: int = 0
    outside: int = 0
    partitions: tuple[int, ...] = ()
    behind: int | None = None
    restarts: int = 0


class Supervisor:
    """Runs the statistics of one process; all calls come from one thread.

    Args:
        stall_s: how long its Faust process may be silent, or leave an event uncounted, until it is killed.
    """

    def __init__(self, settings: ProcessSettings, *, stall_s: float) -> None:
        self._settings, self._stall_s = settings, stall_s
        self._group = GroupOffsets(settings)
        self._process: FaustProcess | None = None
        self._watch = Watch(time.monotonic(), stall_s)
        self._started_at_s = self._next_look_at_s = self._start_at_s = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._before = Course()
        self._ends: Mapping[int, int] = {}
        self._looked_at: Mapping[int, int] = {}
        self._is_away = False
        self.course = Course()

    @property
    def process_id(self) -> int | None:
        """The process id of its Faust process, if one runs."""
        return None if self._process is None else self._process.pid

    def run(self, is_stopping: Callable[[float], bool], on_turn: Callable[[Course], None]) -> None:
        """Keep the statistics until it is to stop.

        Args:
            is_stopping: waits for so many seconds; whether to stop.
        """
        try:
            while not is_stopping(TURN_S):
                self.turn(time.monotonic())
                on_turn(self.course)
        finally:
            self.close()

    def turn(self, now_s: float) -> None:
        """Look at the process once, and do what is due."""
        if self._process is None:
            if now_s >= self._start_at_s:
                self._start(now_s)
            return
        self._hear(self._process, now_s)
        ended = self._process.ended()
        if ended is not None:
            self._process.kill()
            self._restart(now_s, f"it has ended by itself ({ended})")
        elif now_s >= self._next_look_at_s:
            self._next_look_at_s = now_s + LOOK_S
            self._look(self._process, now_s)

    def close(self) -> None:
        """End the process with a last snapshot."""
        if self._process is not None:
            self._process.end()
            self._hear(self._process, time.monotonic())
        self._group.close()

    def _start(self, now_s: float) -> None:
        try:
            self._group.begin()
        except KafkaException as failed:
            self._note_outage(failed)
            self._start_at_s = now_s + LOOK_S
            return
        self._note_answer()
        self._process = FaustProcess(self._settings)
        self._watch = Watch(now_s, self._stall_s)
        self._started_at_s, self._next_look_at_s = now_s, now_s + LOOK_S

    def _hear(self, process: FaustProcess, now_s: float) -> None:
        beat = process.next_beat()
        if beat is None:
            return
        self._watch.beat(now_s, beat.positions)
        for name in _COUNTS:
            setattr(self.course, name, getattr(self._before, name) + getattr(beat, name))
        self._measure()
        if now_s - self._started_at_s > STEADY_S:
            self._pause_s = FIRST_PAUSE_S

    def _measure(self) -> None:
        """Compare the last snapshot with the topic; there is no telling before a process's first one."""
        positions = self._watch.positions
        behind = [self._ends[number] - at for number, at in positions.items() if number in self._ends]
        is_known = self._watch.has_beaten and len(behind) == len(positions)
        self.course.partitions = tuple(sorted(positions))
        self.course.behind = sum(max(one, 0) for one in behind) if is_known else None

    def _look(self, process: FaustProcess, now_s: float) -> None:
        """Compare with the topic, and kill the process if it stalls."""
        try:
            self._ends = self._true_ends()
            if not self._watch.positions:
                self._watch.note(now_s, self._group.committed())
        except KafkaException as failed:
            self._note_outage(failed)
            self._watch.excuse(now_s)
            return
        self._note_answer()
        self._measure()
        stall = self._watch.stall(now_s, self._ends)
        if stall is not None:
            process.kill()
            self._restart(now_s, f"it has stalled: {stall}; it was killed")

    def _true_ends(self) -> dict[int, int]:
        """{events partition: its end}; of one that stands still, the last offsets may hold no event."""
        ends = self._group.ends()
        positions, before = self._watch.positions, self._looked_at
        for number, at in positions.items():
            if at < ends.get(number, 0) and before.get(number) == at and not self._group.has_event(number, at):
                ends[number] = at
        self._looked_at = positions
        return ends

    def _note_outage(self, failed: KafkaException) -> None:
        if not self._is_away:
            _LOGGER.warning("the brokers do not answer (%s); statistics go on when they do", failed.args[0].str())
        self._is_away = True

    def _note_answer(self) -> None:
        if self._is_away:
            _LOGGER.warning("the brokers answer again")
        self._is_away = False

    def _restart(self, now_s: float, why: str) -> None:
        self._process = None
        self._start_at_s = now_s + self._pause_s
        self.course.restarts += 1
        _LOGGER.warning(
            "the Faust process is started again in %.0f s (restart %d): %s",
            self._pause_s,
            self.course.restarts,
            why,
        )
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        self.course.partitions, self.course.behind = (), None
        for name in _COUNTS:
            setattr(self._before, name, getattr(self.course, name))
