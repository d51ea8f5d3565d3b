"""`PartitionFold`: the panes of one events partition, into which its events are counted, each once. Pure.

Each pane knows up to which offset the events are in it, and is written as one record. So a process that was killed, or
another one in its place, may read events again: what a pane has, it does not count once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from ...schemas import Undecodable, UnknownSchema, decode_own
from ...schemas.own_records.jobs_ended import decode_jobs_ended
from ...schemas.own_records.own import is_own
from ...schemas.own_records.statistics_records import PANE_S, StatisticsPane, decode_pane, encode_pane
from .tallies import (
    MOST_TYPES,
    OTHER_TYPES,
    OUTCOMES,
    Tally,
    in_fewer_types,
    tally_ended,
    tally_event,
    without_causes,
)

KEEP_S: Final = 3_660.0
"""How far back panes are kept: an hour, and a minute for what comes late."""
AHEAD_S: Final = 60.0
"""Events of clocks that are further ahead are not counted."""
OPEN_S: Final = 40.0
"""How long after its begin a pane is at hand; it is unpacked again for an event that comes later."""

MOST_BYTES: Final = 700_000
"""The size of a record: one that would be larger goes without the failures' causes, and in the end with fewer types."""

PaneName = tuple[str, int]
"""A queue, and when the pane begins, in seconds since 1970."""


@dataclass(slots=True)
class _Pane:
    upto: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    is_changed: bool = False

    def find(self, job_type: str) -> Tally:
        """The tally of a job type; beyond `MOST_TYPES` that of all others."""
        found = self.tallies.get(job_type)
        if found is None:
            name = job_type if len(self.tallies) < MOST_TYPES else OTHER_TYPES
            found = self.tallies.setdefault(name, Tally(name))
        return found


@dataclass(slots=True)
class FoldCounts:
    """The progress of a process's folds.

    Attributes:
        events: that were read, `jobs` that were counted of them: jobs that are done, and other outcomes of runs.
        unreadable: events of another version of Stoker, or other records.
        outside: events that are too old, or of a clock that is ahead.
    """

    events: int = 0
    jobs: int = 0
    unreadable: int = 0
    outside: int = 0


class PartitionFold:
    """Counts the events of one partition.

    Args:
        packed: {pane: its record}, as it was written last.
        next_offset: of the first event that is to be counted.

    Attributes:
        next_offset: all events below it are counted.
    """

    def __init__(self, partition: int, packed: Mapping[PaneName, bytes], next_offset: int, counts: FoldCounts) -> None:
        self.next_offset = next_offset
        self._partition = partition
        self._packed = dict(packed)
        self._open: dict[PaneName, _Pane] = {}
        self._counts = counts

    def fold(self, offset: int, value: bytes | None, now_s: float) -> None:
        """Count an event, unless its pane has it already."""
        self.next_offset = offset + 1
        self._counts.events += 1
        try:
            if is_own("JobsEnded", value) and value is not None:
                self._fold_ended(offset, value, now_s)
            else:
                self._fold_event(offset, decode_own("JobEvent", value), now_s)
        except (Undecodable, UnknownSchema, ValueError, LookupError, ArithmeticError):
            self._counts.unreadable += 1

    def _fold_ended(self, offset: int, value: bytes, now_s: float) -> None:
        ended = decode_jobs_ended(value)
        pane = self._pane(ended.queue, ended.at, offset, now_s)
        if pane is not None:
            tally_ended(ended, pane.find)
            self._counts.jobs += ended.count

    def _fold_event(self, offset: int, event: Mapping[str, Any], now_s: float) -> None:
        if event["event"] not in OUTCOMES:
            return
        pane = self._pane(event["queue"], event["at"], offset, now_s)
        if pane is not None:
            tally_event(event, pane.find)
            self._counts.jobs += 1

    def _pane(self, queue: str, at: datetime, offset: int, now_s: float) -> _Pane | None:
        """The pane to count in; None where it has the event, or where none is kept of that time."""
        at_s = at.timestamp()
        if not now_s - KEEP_S < at_s < now_s + AHEAD_S:
            self._counts.outside += 1
            return None
        name = queue, int(at_s // PANE_S) * PANE_S
        pane = self._open.get(name) or self._unpack(name)
        if offset < pane.upto:
            return None
        pane.upto, pane.is_changed = offset + 1, True
        return pane

    def _unpack(self, name: PaneName) -> _Pane:
        pane = self._open[name] = _Pane()
        if (packed := self._packed.get(name)) is not None:
            found = decode_pane(packed)
            pane.upto = found.upto
            for counts in found.types:
                pane.find(counts.job_type).add_counts(counts)
        return pane

    def changed(self, now_s: float) -> list[tuple[bytes, bytes]]:
        """The records of the panes that have changed since the last call, as (key, value); forgets old panes."""
        records = []
        for name in sorted(self._open):
            pane = self._open[name]
            if pane.is_changed:
                key, self._packed[name] = self._record(name, pane)
                records.append((key, self._packed[name]))
                pane.is_changed = False
        for name in [one for one in self._open if one[1] < now_s - OPEN_S]:
            del self._open[name]
        for name in [one for one in self._packed if one[1] < now_s - KEEP_S]:
            del self._packed[name]
        return records

    def _record(self, name: PaneName, pane: _Pane) -> tuple[bytes, bytes]:
        types = tuple(tally.as_counts() for tally in pane.tallies.values())
        made = StatisticsPane(partition=self._partition, queue=name[0], begins_s=name[1], upto=pane.upto, types=types)
        return made.key, _fitting(made)


def _fitting(pane: StatisticsPane) -> bytes:
    """The pane's record, in so much detail that the brokers take it: else no process would come past its events."""
    value, types = encode_pane(pane), tuple(map(without_causes, pane.types))
    if len(value) > MOST_BYTES:
        value = encode_pane(replace(pane, types=types))
    while len(value) > MOST_BYTES and len(types) > 1:
        types = in_fewer_types(types, (len(types) - 1) // 2)
        value = encode_pane(replace(pane, types=types))
    return value
