"""`make_writers`: which records follow outcomes. A new one is a pure function in a file of its own, and a line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...topology import Pipeline, Queue
from ..followers.owners import Owners, with_owners
from ..followers.story_records import StoryRecords
from ..settling.unique_records import FindUnique, writers_of
from ..settling.writes import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterParts:
    """The parts that writers are made of.

    Attributes:
        find_unique: finds the unique jobs of a partition number, also of one that was given away a moment ago.
        stories: make the records that follow dead letters.
    """

    pipeline: Pipeline
    queue: Queue
    find_unique: FindUnique
    stories: StoryRecords


def make_writers(parts: WriterParts) -> Sequence[Writer]:
    """All writers of a queue, in the order in which the settler calls them: the jobs' own records, then followers."""
    own = writers_of(parts.queue, parts.find_unique)
    return [
        *with_owners(own, Owners(parts.pipeline, parts.queue)),
        *parts.stories.writers,
    ]
