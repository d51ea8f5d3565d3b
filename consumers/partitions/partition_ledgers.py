"""`PartitionLedgers`: the ledger of each partition number that is ours, with its unique jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from ...topology import Queue
from ..sources.source import Source
from ..unique.holders import Holders
from ..unique.unique_jobs import UniqueJobs
from ..unique.waiting_holders import WaitingHolder
from .ledger import Ledger

FORMER_KEPT_S: Final = 120.0
"""How long the ledger of a partition that went away is kept, lest its jobs run twice if it soon comes back."""


class PartitionLedgers:
    """The ledgers of one queue; the poll thread changes which there are.

    Attributes:
        present: {partition number: its ledger}; the same dict for good. Runners and the settler look into it.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.present: dict[int, Ledger] = {}
        self._former: dict[int, tuple[float, Ledger]] = {}
        self._unique: dict[int, UniqueJobs] = {}

    def find_unique(self, partition: int) -> UniqueJobs | None:
        """The unique jobs of a partition number that is ours, or was a moment ago."""
        return self._unique.get(partition)

    def all_unique(self) -> list[UniqueJobs]:
        """The unique jobs of all these partition numbers."""
        return list(self._unique.values())

    def put_to_use(self, partition: int, ledger: Ledger) -> None:
        """Go on with a ledger that was restored, and with what is here of the partition number already."""
        if partition not in self.present:
            _, former = self._former.pop(partition, (0.0, None))
            if former is not None:
                ledger.absorb_jobs(former)
            self.present[partition] = ledger
            self._put_unique_to_use(partition, ledger.holders)
        elif self.present[partition] is not ledger:
            # A waiting topic that came later than its main topic: its owner before may have settled more meanwhile.
            self.present[partition].absorb(ledger)

    def _put_unique_to_use(self, partition: int, holders: Holders | None) -> None:
        """Go on with what was restored, and with what an earlier assignment of this process has not written yet."""
        if holders is not None:
            former, unique = self._unique.get(partition), UniqueJobs(self._queue.unique, holders, time.time)
            if former is not None:
                unique.absorb_former(former)
            self._unique[partition] = unique

    def forget_unread(self, partition: int) -> None:
        """Forget which unique jobs of a partition number have been read ahead: they are read anew, or are gone."""
        unique = self._unique.get(partition)
        if unique is not None:
            unique.forget_unread()

    def restore_waiting(self, partition: int, found: Iterable[WaitingHolder]) -> None:
        """Take the unique jobs of a partition number that wait on its waiting topics."""
        holders = self.present[partition].holders
        if holders is not None:
            holders.restore_waiting(found)

    def put_aside(self, kept: Collection[int]) -> None:
        """Put all ledgers aside but those of these partition numbers: they may come back soon."""
        for partition in self.present.keys() - kept:
            self._former[partition] = (time.monotonic(), self.present.pop(partition))

    def forget_old(self, committable: Callable[[int], Mapping[Source, int | None]]) -> None:
        """Drop names that are older than the ledgers' window, and the ledgers of partitions that have not come back.

        Args:
            committable: finds, of a partition number, below which offset of each topic that producers publish to all
                jobs have had their turn.
        """
        now_s = time.monotonic()
        self._former = {p: entry for p, entry in self._former.items() if now_s - entry[0] < FORMER_KEPT_S}
        for ledger in self.present.values():
            ledger.forget_old()
        if self._unique:
            self._unique = {p: unique for p, unique in self._unique.items() if p in self.present or p in self._former}
            for partition, unique in self._unique.items():
                unique.forget_old(committable(partition))
