"""The process that makes and changes schedules (`python -m chaos.fleet.scheduling '<json of Duty>'`), and its notes.

It may be killed at any moment. Started again, it gives the schedules that it changes a known state first. At the end
all of them fire.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from chaos.fleet.operating import Duty, insist
from chaos.notes import NoteFile, Tally
from chaos.timetable import CHANGED_S, CHANGES_TO_S, DECLARED, EVERY_S, WORK_MS, options_of, timing_of
from stoker.producers import EnqueueError
from stoker.producers.schedules import ScheduleError, Schedules
from stoker.producers.schedules.errors import ScheduleExists
from stoker.topology import ClusterSettings, ClusterUnreachable, every

REST_S: Final = (1.0, 5.0)
UNTIL_RATIO: Final = 0.8
FAILURES: Final = (ScheduleError, ClusterUnreachable, EnqueueError)


class Scheduler:
    """Changes one schedule after the other. A change that fails for want of brokers leaves its state unknown."""

    def __init__(self, duty: Duty) -> None:
        from chaos.fleet.app import pipeline, tick

        self._duty, self._tick = duty, tick
        self._schedules = Schedules(pipeline, ClusterSettings(bootstrap_servers=duty.servers), operator="chaos")
        self._notes = NoteFile(Path(duty.folder), "changes")
        self._ends = Tally(Path(duty.folder), "runs", b"E ")
        self._random = random.Random(f"schedules of {duty.seed} {os.getpid()}")

    def run(self) -> None:
        """Make all, and change some until most jobs of the run are completed."""
        insist(self._schedules.apply_declared, FAILURES)
        self._note_fires(DECLARED, EVERY_S[DECLARED])
        for name, seconds in (EVERY_S | CHANGED_S).items():
            if name != DECLARED:
                insist(lambda name=name: self._make(name), FAILURES)  # type: ignore[misc]  # used at once
            if name in EVERY_S:
                self._note_fires(name, seconds)
        self._settle()
        while self._ends.look() < UNTIL_RATIO * self._duty.jobs:
            try:
                self._change(self._random.choice(list(CHANGED_S)))
            except FAILURES as error:
                print(f"not changed: {error}", file=sys.stderr, flush=True)
            time.sleep(self._random.uniform(*REST_S))
        self._settle()
        self._schedules.close()

    def _make(self, name: str) -> None:
        try:
            self._schedules.add(name, timing_of(name), self._tick.call(name, WORK_MS.get(name, 0)), **options_of(name))
        except ScheduleExists:
            """A forerunner has made it, or an attempt of this one whose answer was lost."""

    def _settle(self) -> None:
        """Let all of those that are changed fire, at the times with which they began."""
        for name, seconds in CHANGED_S.items():
            self._note_change(name)
            insist(lambda name=name, seconds=seconds: self._begin(name, seconds), FAILURES)  # type: ignore[misc]
            self._note_fires(name, seconds)

    def _begin(self, name: str, seconds: int) -> None:
        self._schedules.edit(name, timing=every(timedelta(seconds=seconds)))
        self._schedules.resume(name)

    def _change(self, name: str) -> None:
        changes: list[Callable[[str], None]] = [self._edit, self._edit, self._pause, self._trigger]
        self._random.choice(changes)(name)

    def _edit(self, name: str) -> None:
        """Another interval; a pause ends with it, so that the state is known."""
        seconds = self._random.choice(CHANGES_TO_S)
        self._note_change(name)
        self._begin(name, seconds)
        self._note_fires(name, seconds)

    def _pause(self, name: str) -> None:
        self._note_change(name)
        self._schedules.pause(name)
        self._notes.append(f"D {name} paused {time.time()}")

    def _trigger(self, name: str) -> None:
        for receipt in self._schedules.trigger(name):
            self._notes.append(f"T {name} {receipt.job_id} {time.time()}")

    def _note_change(self, name: str) -> None:
        self._notes.append(f"B {name} - {time.time()}")

    def _note_fires(self, name: str, seconds: int) -> None:
        self._notes.append(f"D {name} {seconds} {time.time()}")


if __name__ == "__main__":
    given = Duty(**json.loads(sys.argv[1]))
    os.environ["CHAOS_FOLDER"] = given.folder
    Scheduler(given).run()
