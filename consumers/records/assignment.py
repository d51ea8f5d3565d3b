"""`Assignment`: the time that a partition is ours, and what the worker keeps of it meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

from .progress import Progress

Lane = bytes | str
Awaited = tuple[timedelta | None, int, bytes, int]
"""Tier, partition, origin and attempt of a record that waits in a tier."""


class Assignment:
    """One partition of one topic, from the moment it was assigned until it was revoked.

    Attributes:
        number: counts up over all assignments of this process; a result of an older one is settled as late.
        tier: the delay of the retry tier; None for the main topic.
        keeps_order: whether records of one key run one at a time.
        is_ready: whether what its jobs need is restored, so that they may start.
        is_open: whether its records may still be started; False while the partition is being given away.
        is_active: False once the partition was revoked or lost; results that come later are settled as late.
        before: the one that this one was begun anew of, since the partition was not what it was; None for most.
        progress, in_flight, committed: owned by the poll thread; records handed to the lanes and not yet settled, and
            the offset and metadata that were last committed.
        deaths: how many owners ended without closing the partition since it last came beyond `window_end`, the last
            one included; offsets below `window_end` were possibly running then.
        crashes: {offset: how often a process died while its job ran}; any thread may note one, and the next commit
            keeps it.
        awaited: of a tier, where order is strict: {key: its records that were found there}, until lanes begin with it.
        spilled_at: where on the progress topic its incomplete offsets were last confirmed; None where they were not.
    """

    __slots__ = (
        "awaited",
        "before",
        "committed",
        "crashes",
        "deaths",
        "in_flight",
        "is_active",
        "is_open",
        "is_ready",
        "keeps_order",
        "number",
        "partition",
        "progress",
        "spilled_at",
        "tier",
        "topic",
        "window_end",
    )

    def __init__(
        self, number: int, topic: str, partition: int, *, tier: timedelta | None = None, keeps_order: bool = True
    ) -> None:
        self.number = number
        self.topic = topic
        self.partition = partition
        self.tier = tier
        self.keeps_order = keeps_order
        self.is_open = True
        self.is_active = True
        self.is_ready = False
        self.before: Assignment | None = None
        self.progress = Progress()
        self.in_flight = 0
        self.committed: tuple[int, str] | None = None
        self.deaths = 0
        self.window_end = 0
        self.crashes: dict[int, int] = {}
        self.awaited: Mapping[Lane, Collection[Awaited]] = {}
        self.spilled_at: int | None = None
