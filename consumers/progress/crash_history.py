"""`CrashHistory`: what is known of processes that died while they had a partition, or ran one of its jobs."""

from __future__ import annotations

from ...topology.wire.commit_metadata import CommitMetadata
from .partition_progress import PartitionProgress


class CrashHistory:
    """The crashes of one assignment. The poll thread owns it; any thread may `note` one, which the next commit keeps.

    Attributes:
        deaths: how many owners ended without closing the partition since it last came beyond `window_end`, the last
            one included.
        window_end: offsets below it were possibly running when the last of them died.
        crashes: {offset: how often its job has crashed}.
    """

    __slots__ = ("crashes", "deaths", "window_end")

    def __init__(self) -> None:
        self.deaths = 0
        self.window_end = 0
        self.crashes: dict[int, int] = {}

    def restore(self, state: CommitMetadata) -> None:
        """Take over what the owner before knew."""
        self.deaths, self.window_end = state.deaths, state.window_end
        self.crashes.update(state.crashes)

    def note(self, offset: int, crashes: int) -> None:
        """Remember how often a process has died by now while the job at this offset ran."""
        self.crashes[offset] = crashes

    def forget_past(self, progress: PartitionProgress) -> None:
        """Forget the crashes of jobs that are complete, and the deaths once all that ran at them is."""
        committable = progress.committable()
        if committable is None:
            return
        if committable >= self.window_end:
            self.deaths = 0
        for offset in [offset for offset in list(self.crashes) if not progress.is_incomplete(offset)]:
            del self.crashes[offset]
