"""The outside ledger: files of notes that jobs, producers and the harness append to, none of them Stoker's own.

Each process appends to a file of its own, one line in one write with O_APPEND, so a kill parts no line and loses none
that was written. The clock is the machine's monotonic one, which all processes share and no clock jump moves.

    runs-<worker>-<pid>     S <number> <attempt> <place> <origin> <ns>   a run starts
                            E <number> <attempt> <place> <how> <ns>      it ends: ok, failed, snoozed, ...
    confirmed-<pid>-<pid>   C <number> <place> <ns>                      the brokers have confirmed a job
                            F <number> <error> <ns>                      they have not, as far as is known
    orders-<pid>-<pid>      G <id> <verb> <target> - <ns>                an order is about to be given
                            A <id> <verb> <target> <missing> <ns>        all workers but these hold to it
                            L <id> - - - <ns>                            it, or `all`, is about to be lifted
                            K <id> stop worker=<id> - <ns>               a worker is about to be ordered to stop
    stamps-<worker>-<pid>   T <number> <epoch seconds> <ns>              when a job was enqueued, by its producer
    ticks-<worker>-<pid>    S <job id> <attempt> - <ns>                  a run of a schedule's job starts
                            E <job id> <attempt> <how> <ns>              it ends
    changes-<pid>-<pid>     B <schedule> - <epoch seconds> <ns>          a schedule is about to be changed
                            D <schedule> <state> <epoch seconds> <ns>    from now on it fires so often, or is paused
                            T <schedule> <job id> <epoch seconds> <ns>   it was triggered
    faults                  one JSON object for each fault
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from stoker.consumers.isolation import child_flag

OK: Final = "ok"
FAILED: Final = "failed"
SNOOZED: Final = "snoozed"
DISCARDED: Final = "discarded"
CUT: Final = "cut"
"""The run was ended from outside: it overran its time, or its worker shut down."""
NO_ORIGIN: Final = "-"


class NoteFile:
    """A file that this process appends to."""

    def __init__(self, folder: Path, kind: str) -> None:
        own = os.getpid()
        owner = os.getppid() if child_flag.is_child else own
        self._file = os.open(folder / f"{kind}-{owner}-{own}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, line: str) -> None:
        """Write one line, whole."""
        os.write(self._file, f"{line} {time.monotonic_ns()}\n".encode())


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one attempt, as noted by the job.

    Attributes:
        pid: the worker's; a child of its counts as the worker itself.
        place: the record that was run, `topic/partition/offset`.
        origin: the record as which the job first came, equal to `place` in a first attempt.
        end_s, how: None where the run has no end: its process died in it.
        child: the child process that ran it; 0 where the worker did itself.
    """

    number: int
    attempt: int
    pid: int
    place: str
    origin: str
    start_s: float
    end_s: float | None = None
    how: str | None = None
    child: int = 0

    @property
    def process(self) -> int:
        """The process that ran it: the worker, or its child."""
        return self.child or self.pid


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A producer's note that the brokers have a job."""

    number: int
    pid: int
    place: str
    at_s: float


def read_runs(folder: Path) -> Iterator[Run]:
    """All runs of all processes; those of one process by their ends."""
    for path in sorted(folder.glob("runs-*")):
        owner, child = owner_of(path), int(path.name.split("-")[2])
        for run in _runs_of(path, owner):
            yield run if child == owner else replace(run, child=child)


def _runs_of(path: Path, pid: int) -> Iterator[Run]:
    """In a process, runs of one attempt from one record follow each other, so an end closes the last start."""
    open_runs: dict[tuple[str, str, str], tuple[str, float]] = {}
    for line in whole_lines(path):
        what, number, attempt, place, detail, ns = line.split(" ")
        name = (number, attempt, place)
        if what == "S":
            if name in open_runs:
                yield _unended(name, pid, open_runs[name])
            open_runs[name] = (detail, int(ns) / 1e9)
        else:
            origin, start_s = open_runs.pop(name)
            yield Run(int(number), int(attempt), pid, place, _origin(origin, place), start_s, int(ns) / 1e9, detail)
    for name, begun in open_runs.items():
        yield _unended(name, pid, begun)


def _unended(name: tuple[str, str, str], pid: int, begun: tuple[str, float]) -> Run:
    number, attempt, place = name
    return Run(int(number), int(attempt), pid, place, _origin(begun[0], place), begun[1])


def _origin(noted: str, place: str) -> str:
    return place if noted == NO_ORIGIN else noted


def read_confirmations(folder: Path) -> Iterator[Confirmation]:
    """All jobs that the brokers have confirmed, as often as they did."""
    for path in sorted(folder.glob("confirmed-*")):
        pid = owner_of(path)
        for line in whole_lines(path):
            what, number, place, ns = line.split(" ")
            if what == "C":
                yield Confirmation(int(number), pid, place, int(ns) / 1e9)


@dataclass(frozen=True, slots=True)
class Held:
    """An order that workers have answered, or one that was given.

    Attributes:
        target: `type=...`, `queue=...`, `key=queue:key`, `tenant=...`, `partition=queue:number`, `worker=...`, `all`;
            of a cancel `below=number`, `beyond=number` or `filtered=epoch seconds`; of a reschedule `job=number`.
        missing: the workers that have not answered, by their process ids.
        from_s, until_at_s: from the answer until it is about to be lifted.
    """

    verb: str
    target: str
    missing: frozenset[int]
    from_s: float
    until_at_s: float = math.inf


FOR_GOOD: Final = frozenset({"cancel", "reschedule"})


def read_held(folder: Path) -> Iterator[Held]:
    """All orders that were answered, and how long they held: until they were lifted, or the next operator began."""
    return _orders(folder, "A")


def read_given(folder: Path) -> Iterator[Held]:
    """All orders that were given, from the moment before that on; nobody may be known to have answered them."""
    return _orders(folder, "G")


def _orders(folder: Path, begun_by: str) -> Iterator[Held]:
    open_: dict[str, Held] = {}
    for what, order_id, verb, target, missing, ns in sorted(notes_of(folder, "orders"), key=lambda line: int(line[5])):
        at_s = int(ns) / 1e9
        if what == begun_by:
            pids = frozenset(int(pid) for pid in missing.split(",") if pid.isdigit())
            open_[order_id] = Held(verb, target, pids, at_s)
        elif what == "L":
            lifted = [known for known in open_ if order_id in (known, "all") and open_[known].verb not in FOR_GOOD]
            for known in lifted:
                yield replace(open_.pop(known), until_at_s=at_s)
    yield from open_.values()


def read_stops(folder: Path) -> Iterator[tuple[int, float]]:
    """(process id, when) of the workers that were ordered to stop."""
    for what, _, _, target, _, ns in notes_of(folder, "orders"):
        if what == "K":
            yield int(target.rpartition("-")[2]), int(ns) / 1e9


def read_stamps(folder: Path) -> dict[int, float]:
    """{number of a job: when it was enqueued, in epoch seconds}, of those that a filter may have cancelled."""
    return {int(number): float(at_s) for _, number, at_s, _ in notes_of(folder, "stamps")}


def notes_of(folder: Path, kind: str) -> list[list[str]]:
    """The words of all lines of a kind."""
    return [line.split(" ") for path in sorted(folder.glob(f"{kind}-*")) for line in whole_lines(path)]


@dataclass(slots=True)
class Tick:
    """What became of a job of a schedule.

    Attributes:
        start_s: when it ran first.
        ended_at_s: when a run of it first ended well; None where none did.
    """

    start_s: float
    ended_at_s: float | None = None


def read_ticks(folder: Path) -> dict[str, Tick]:
    """{job id: what became of it}."""
    found: dict[str, Tick] = {}
    for what, job_id, _, how, ns in sorted(notes_of(folder, "ticks"), key=lambda line: int(line[4])):
        tick = found.setdefault(job_id, Tick(int(ns) / 1e9))
        if what == "E" and how == OK and tick.ended_at_s is None:
            tick.ended_at_s = int(ns) / 1e9
    return found


@dataclass(frozen=True, slots=True)
class Change:
    """A note about a schedule.

    Attributes:
        what: `B`, `D` or `T`, as above.
        detail: its state, or the id of a job.
        wall_s: by the clock that can be moved.
    """

    what: str
    schedule: str
    detail: str
    wall_s: float
    at_s: float


def read_changes(folder: Path) -> list[Change]:
    """All notes about schedules, in their order."""
    found = [
        Change(what, name, detail, float(wall), int(ns) / 1e9)
        for what, name, detail, wall, ns in notes_of(folder, "changes")
    ]
    return sorted(found, key=lambda change: change.at_s)


def owner_of(path: Path) -> int:
    """The worker, or producer, that a file belongs to; a worker's children have files of their own."""
    return int(path.name.split("-")[1])


def is_of_child(path: Path) -> bool:
    """Whether a child process of a worker has written the file."""
    return int(path.name.split("-")[2]) != owner_of(path)


def whole_lines(path: Path) -> Iterator[str]:
    """The lines of a file of notes; a process that was killed may have left a part of one."""
    with path.open(encoding="ascii") as file:
        for line in file:
            if line.endswith("\n"):
                yield line[:-1]


class Tally:
    """Counts jobs in the growing notes, reading only what is new."""

    def __init__(self, folder: Path, kind: str, mark: bytes) -> None:
        self._folder, self._kind, self._mark = folder, kind, mark
        self._read: dict[Path, int] = {}
        self.numbers: set[int] = set()
        """The jobs with a line of that mark, such as `b"C "`, or of that mark and that end."""

    def look(self) -> int:
        """Read on, and give the count."""
        for path in self._folder.glob(f"{self._kind}-*"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                new = file.read()
            whole = new.rfind(b"\n") + 1
            self._read[path] = self._read.get(path, 0) + whole
            for line in new[:whole].splitlines():
                if self._is_wanted(line):
                    self.numbers.add(int(line.split(b" ", 2)[1]))
        return len(self.numbers)

    def _is_wanted(self, line: bytes) -> bool:
        if self._mark != b"E ":
            return line.startswith(self._mark)
        return line.startswith(b"E ") and line.split(b" ")[4] in (b"ok", b"discarded")
