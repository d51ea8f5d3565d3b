"""`Requester`: wants records read again that are known by their offsets. `RereadBatch`: what a turn has read again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Message

from ..progress.assignment import Assignment, Place
from ..records.record import Record

Wanted = dict[Assignment, list[int]]
"""The offsets that are to be read again."""


@dataclass(slots=True)
class RereadBatch:
    """The records that one turn has read again. A requester takes its own, and leaves the others to the next one.

    Attributes:
        left: the records that no requester has taken yet, each with the assignment that it was read for.
        looked_at: the places of those that were read for a look alone, as far as known.
    """

    left: list[tuple[Assignment, Message]]
    looked_at: set[Place] = field(default_factory=set)


class Requester:
    """Wants records read again, and takes them back; owned by the poll thread.

    A record is read once, however many requesters want it: one that needs no more than a look leaves it in its place.
    """

    @property
    def has_wanted(self) -> bool:
        """Whether something is wanted that cannot wait until fetching has waited for records."""
        return False

    @property
    def is_behind(self) -> bool:
        """Whether more is to be read in a turn than usual: what is read may be late, or others wait behind it."""
        return False

    def take_wanted(self) -> Wanted:
        """The records to be read again by now: {assignment: offsets}, each given once."""
        return {}

    def take_reread(self, found: RereadBatch) -> Sequence[Record]:
        """Take what was wanted here; returns the records that are to go to their lanes by that, before others do."""
        return ()

    def end_reread(self) -> None:
        """Note that all requesters have taken theirs."""
        return

    def note_gone(self, gone: Collection[Place]) -> Collection[Place]:
        """Follow the deletion of these places; return the ones whose jobs waited here, and so are lost."""
        return ()
