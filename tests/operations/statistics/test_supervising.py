"""The supervisor's own figures are those of the process that runs, also while that is silent or gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from stoker.operations.statistics import supervising
from stoker.operations.statistics.messages import ProcessBeat, ProcessSettings
from stoker.operations.statistics.supervising import FIRST_PAUSE_S, LOOK_S, Supervisor

STALL_S = 20.0


@dataclass
class Faust:
    """Stands for a Faust process; `beats` are still to be heard."""

    beats: list[ProcessBeat] = field(default_factory=list)
    end_in_words: str | None = None

    def next_beat(self) -> ProcessBeat | None:
        """The next one."""
        return self.beats.pop(0) if self.beats else None

    def ended(self) -> str | None:
        """How it has ended."""
        return self.end_in_words

    def end(self) -> None:
        """Nothing is left of it."""

    kill = end


@dataclass
class Group:
    """Stands for the brokers: the end of the one partition moves."""

    end: int = 5

    def ends(self) -> dict[int, int]:
        """Of all partitions."""
        return {0: self.end}

    def has_event(self, _partition: int, _offset: int) -> bool:
        """There are events up to the end."""
        return True

    def committed(self) -> dict[int, int]:
        """Nothing."""
        return {}

    def begin(self) -> None:
        """It has begun."""

    close = begin


@dataclass
class Scene:
    """A supervisor, and what it sees."""

    supervisor: Supervisor
    group: Group
    started: list[Faust]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Its first process has started."""
    group, started = Group(), list[Faust]()

    def start(_settings: ProcessSettings) -> Faust:
        started.append(Faust())
        return started[-1]

    monkeypatch.setattr(supervising, "GroupOffsets", lambda _settings: group)
    monkeypatch.setattr(supervising, "FaustProcess", start)
    settings = ProcessSettings(
        bootstrap_servers="localhost:1", options={}, events="e", stats="s", group="s", member="a", stats_partitions=1
    )
    made = Scene(Supervisor(settings, stall_s=STALL_S), group, started)
    made.supervisor.turn(0.0)
    yield made
    made.supervisor.close()


def test_what_is_behind_grows_while_the_process_is_silent(scene: Scene) -> None:
    """It was that of the last snapshot: nothing was behind, however much came."""
    scene.started[0].beats += [ProcessBeat(positions={0: 5})] * 2
    scene.supervisor.turn(LOOK_S)
    scene.supervisor.turn(LOOK_S + 1)
    assert scene.supervisor.course.behind == 0
    scene.group.end = 905
    scene.supervisor.turn(2 * LOOK_S)
    assert (scene.supervisor.course.behind, scene.supervisor.course.partitions) == (900, (0,))


def test_nothing_is_known_of_a_process_before_its_first_snapshot(scene: Scene) -> None:
    """The one before it has counted to somewhere; whether anything is behind, the next one shows."""
    scene.started[0].beats += [ProcessBeat(positions={0: 5}, events=3, jobs=30)] * 2
    scene.supervisor.turn(LOOK_S)
    scene.started[0].end_in_words = "exit code 1"
    scene.supervisor.turn(LOOK_S + 1)
    course = scene.supervisor.course
    assert (course.restarts, course.jobs, course.behind, course.partitions) == (1, 30, None, ())
    scene.supervisor.turn(LOOK_S + 1 + FIRST_PAUSE_S)
    scene.supervisor.turn(3 * LOOK_S + 1 + FIRST_PAUSE_S)
    assert (len(scene.started), course.behind) == (2, None)
    scene.started[1].beats.append(ProcessBeat(positions={0: 5}, events=1, jobs=10))
    scene.supervisor.turn(3 * LOOK_S + 2 + FIRST_PAUSE_S)
    assert (course.jobs, course.behind, course.partitions) == (40, 0, (0,))
