"""`CommitState`: how far the brokers know the progress of one assignment, and where they keep what is too large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...topology.wire.commit_metadata import SpilledAt
from .offset_set import chunk_of


@dataclass(frozen=True, slots=True)
class SentCommit:
    """A commit of one partition.

    Attributes:
        offset, text: what the coordinator keeps: the offset, and its metadata.
        spilled_at: what of the progress topic the metadata refers to; None where it needs nothing there.
    """

    offset: int
    text: str
    spilled_at: SpilledAt | None


class CommitState:
    """The progress of one assignment that the brokers keep, as far as this worker knows; owned by the poll thread.

    Args:
        spilled_at: where on the progress topic the assignment before has left its incomplete offsets.
        former_chunks: the keys of chunks on the progress topic that owners before have left, by the chunk's number.
    """

    __slots__ = ("_former_chunks", "_sent", "_spilled_at", "_taken")

    def __init__(self, spilled_at: SpilledAt | None = None, former_chunks: Sequence[tuple[int, bytes]] = ()) -> None:
        self._spilled_at = spilled_at
        self._former_chunks = former_chunks
        self._sent: SentCommit | None = None
        self._taken: SentCommit | None = None

    @property
    def sent(self) -> SentCommit | None:
        """The last commit, answered or on its way; None before the first, and where the last one was refused."""
        return self._sent

    @property
    def taken(self) -> SentCommit | None:
        """The commit that the brokers have taken last; None before the first."""
        return self._taken

    @property
    def spilled_at(self) -> SpilledAt | None:
        """Where on the progress topic the incomplete offsets were last confirmed, by this assignment or the one before.

        None where they were not.
        """
        return self._spilled_at

    def note_sent(self, commit: SentCommit) -> None:
        """Note that a commit is on its way."""
        self._sent = commit

    def note_refused(self) -> None:
        """Note that the brokers have refused the last commit, so that it is sent again."""
        self._sent = None

    def note_taken(self, offset: int, text: str) -> bool:
        """Note that the brokers have taken a commit; False where it is not the last one of this assignment."""
        sent = self._sent
        if sent is None or (sent.offset, sent.text) != (offset, text):
            return False
        self._taken = sent
        return True

    def note_spilled(self, spilled_at: SpilledAt) -> None:
        """Note that the progress topic has all incomplete offsets: the next commit may refer to them."""
        self._spilled_at = spilled_at

    # ---- what owners before have left on the progress topic

    def take_over(self, former: CommitState) -> None:
        """Go on with the chunks that a replaced assignment knows of."""
        self._former_chunks = former._former_chunks

    def take_former_chunks(self, committed: int | None) -> list[bytes]:
        """The keys of former chunks below the committed offset, or of all of them; each is returned once."""
        former, first = self._former_chunks, math.inf if committed is None else chunk_of(committed)
        self._former_chunks = [one for one in former if one[0] >= first]
        return [key for number, key in former if number < first]
