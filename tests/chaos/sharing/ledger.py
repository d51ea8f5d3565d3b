"""`Shared`: what was asked of the queues that share and what they gave, by the notes of the producer and of the jobs.

asked-<pid>-<pid>    C <job id> <type> <scope> <asked ns> <ns>     the brokers have confirmed a job
                     R <job id> <type> <scope> <asked ns> <ns>     it was refused: its queue is full
                     F <job id> <type> <scope> <asked ns> <ns>     it failed, so it is there or not
                     U - <queue> - 0 <ns>                          the producer does not know how many jobs wait
                     K - <queue> - 0 <ns>                          it knows again
turns-<worker>-<pid> S <job id> <type> <scope> <key> <place> - <ns>      a run begins
                     E <job id> <type> <scope> <key> <place> <how> <ns>  it ends
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from chaos.judging.account import Strike
from chaos.notes import OK, Held, is_of_child, notes_of, owner_of, read_given, whole_lines
from chaos.sharing.streams import USUAL, Sizes
from stoker.topology.wire.orders import Verb

CONFIRMED: Final = "C"
REFUSED: Final = "R"
FAILED: Final = "F"
UNKNOWN: Final = "U"
KNOWN: Final = "K"
NO_KEY: Final = "-"
FULLY_BUSY: Final = 90.0
"""Per cent of all processors."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A job that was enqueued, or was to be."""

    how: str
    job_id: str
    job_type: str
    scope: str
    asked_at_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A run of a job.

    Attributes:
        end_s: of one without an end, when its process was last seen.
        child: whether it ran in a child process, as what may have killed two workers does, one at a time.
    """

    job_id: str
    job_type: str
    scope: str
    key: str
    place: str
    pid: int
    start_s: float
    end_s: float
    how: str | None = None
    child: bool = False

    @property
    def offset(self) -> int:
        """Of its record."""
        return int(self.place.rpartition("/")[2])

    @property
    def partition(self) -> str:
        """`topic/partition`; with priorities that of the main topic, which has the same owner."""
        topic, number, _ = self.place.split("/")
        return f"{'.'.join(topic.split('.')[:2])}/{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What is checked.

    Attributes:
        turns: by their starts.
        quiet: orders that kept workers from beginning jobs of these queues.
        sizes: what the limits allow.
        busy: (from, until) when no processor was free, so that what is used tells of the machine alone.
    """

    asked: Sequence[Asked]
    turns: Sequence[Turn]
    strikes: Sequence[Strike] = ()
    quiet: Sequence[Held] = ()
    busy: Sequence[tuple[float, float]] = ()
    sizes: Sizes = USUAL

    def of(self, job_type: str) -> list[Turn]:
        """The runs of a type."""
        return [turn for turn in self.turns if turn.job_type == job_type]


NO_SHARED: Final = Shared(asked=(), turns=())


def read_shared(folder: Path, strikes: Sequence[Strike], sizes: Sizes) -> Shared:
    """Everything together."""
    return Shared(
        asked=read_asked(folder),
        turns=read_turns(folder),
        strikes=strikes,
        quiet=[held for held in read_given(folder) if held.verb == Verb.QUIET],
        busy=list(read_busy(folder)),
        sizes=sizes,
    )


def read_busy(folder: Path) -> Iterator[tuple[float, float]]:
    """When the processors were busy, look by look."""
    looks = sorted((int(ns) / 1e9, float(percent)) for _, percent, ns in notes_of(folder, "machine"))
    for (from_s, _), (until_at_s, percent) in pairwise(looks):
        if percent > FULLY_BUSY:
            yield from_s, until_at_s


def read_asked(folder: Path) -> list[Asked]:
    """All jobs that the producer has asked for, by the time of the answer."""
    found = [
        Asked(how, job_id, job_type, scope, int(asked) / 1e9, int(ns) / 1e9)
        for how, job_id, job_type, scope, asked, ns in notes_of(folder, "asked")
    ]
    return sorted(found, key=lambda one: one.at_s)


def read_turns(folder: Path) -> list[Turn]:
    """All runs, by their starts."""
    found = [turn for path in folder.glob("turns-*") for turn in _turns_of(path, is_child=is_of_child(path))]
    return sorted(found, key=lambda turn: turn.start_s)


def _turns_of(path: Path, *, is_child: bool) -> Iterator[Turn]:
    pid, last_s = owner_of(path), 0.0
    begun: dict[tuple[str, ...], float] = {}
    for line in whole_lines(path):
        what, *name, how, ns = line.split(" ")
        last_s = int(ns) / 1e9
        if what == "S":
            begun[tuple(name)] = last_s
        else:
            yield _turn(name, pid, begun.pop(tuple(name)), last_s, how, is_child)
    for left, start_s in begun.items():
        yield _turn(left, pid, start_s, last_s, None, is_child)


def _turn(name: Sequence[str], pid: int, start_s: float, end_s: float, how: str | None, is_child: bool) -> Turn:
    job_id, job_type, scope, key, place = name
    return Turn(job_id, job_type, scope, key, place, pid, start_s, end_s, how, is_child)


class Openings:
    """Counts the jobs of each type and scope that are confirmed and have not begun, reading only what is new."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._open: dict[str, tuple[str, str]] = {}
        self._begun: set[str] = set()

    def look(self) -> dict[tuple[str, str], int]:
        """{(type, scope): jobs that wait}."""
        for words in self._new_lines("turns"):
            self._begun.add(words[1])
            self._open.pop(words[1], None)
        for words in self._new_lines("asked"):
            if words[0] == CONFIRMED and words[1] not in self._begun:
                self._open[words[1]] = (words[2], words[3])
        counts: dict[tuple[str, str], int] = {}
        for name in self._open.values():
            counts[name] = counts.get(name, 0) + 1
        return counts

    def _new_lines(self, kind: str) -> Iterator[list[str]]:
        for path in self._folder.glob(f"{kind}-*"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                new = file.read()
            whole = new.rfind(b"\n") + 1
            self._read[path] = self._read.get(path, 0) + whole
            yield from (line.decode().split(" ") for line in new[:whole].splitlines())


def wait_ended(folder: Path, standstill_s: float, look_s: float) -> None:
    """Wait until all confirmed jobs have a run that ended well, or none has ended for so long, whatever is asked."""
    before, moved_s = -1, time.monotonic()
    while True:
        ended = {turn.job_id for turn in read_turns(folder) if turn.how == OK}
        if len(ended) > before:
            before, moved_s = len(ended), time.monotonic()
        is_open = any(one.how == CONFIRMED and one.job_id not in ended for one in read_asked(folder))
        if not is_open or time.monotonic() - moved_s > standstill_s:
            return
        time.sleep(look_s)


def last_owner(folder: Path, partition: str) -> int | None:
    """The process that began the last job of a partition, given as `topic/partition`."""
    return next((turn.pid for turn in reversed(read_turns(folder)) if turn.partition == partition), None)
