"""`DeedFilter`: which deeds are meant; all that is given must hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from .actions import Deed


@dataclass(frozen=True, slots=True, kw_only=True)
class DeedFilter:
    """The properties that a deed must have; empty fields ask for nothing.

    Attributes:
        since, until: when it began or ended: at or after the one, before the other.
        by: an operator, a host, or both as `ann@web-1`.
        deeds: kinds such as `order`, or deeds such as `pause` and `dead-letters-replayed`.
        words: each of them stands somewhere in the deed, in capitals or not.
    """

    since: datetime | None = None
    until: datetime | None = None
    by: str = ""
    deeds: tuple[str, ...] = ()
    queue: str = ""
    job_type: str = ""
    job_id: str = ""
    words: tuple[str, ...] = ()

    def takes(self, deed: Deed) -> bool:
        """Whether the deed is meant."""
        return self._is_in_time(deed) and self._is_of_kind(deed) and self._is_about(deed) and self._has_words(deed)

    def _is_of_kind(self, deed: Deed) -> bool:
        is_by = not self.by or self.by in (deed.operator, deed.host, deed.by)
        return is_by and (not self.deeds or not {deed.kind, deed.deed, *deed.deed.split()}.isdisjoint(self.deeds))

    def _is_about(self, deed: Deed) -> bool:
        is_there = not self.queue or deed.queue == self.queue
        is_typed = not self.job_type or self.job_type in deed.job_types
        return is_there and is_typed and (not self.job_id or _is_about_job(deed, self.job_id))

    def _is_in_time(self, deed: Deed) -> bool:
        last = deed.ended_at or deed.at
        return (self.since is None or last >= self.since) and (self.until is None or deed.at < self.until)

    def _has_words(self, deed: Deed) -> bool:
        if not self.words:
            return True
        sides = (*deed.before.items(), *deed.after.items(), *deed.detail.items())
        parts = [deed.id, deed.deed, deed.about, deed.reason, deed.by, deed.command, *(" ".join(one) for one in sides)]
        text = "\n".join(parts).lower()
        return all(word.lower() in text for word in self.words)


def _is_about_job(deed: Deed, job_id: str) -> bool:
    """Whether a deed names the job: as its target, among its filters, or where its payload was corrected."""
    if deed.job_id == job_id:
        return True
    return f'"{job_id}"' in deed.detail.get("filters", "") or any(
        what == job_id or what.startswith(f"{job_id} ") for what in (*deed.before, *deed.after)
    )


def as_shown(deeds: Iterable[Deed]) -> Iterator[Deed]:
    """Deeds for people: the orders of one command, which may name many jobs, are one."""
    for _, some in groupby(deeds, key=lambda deed: deed.id):
        *before, last = some
        yield replace(last, count=len(before) + 1)
