"""Checks of an outbox: a relay works, its rows go out in time, and none has failed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from ...databases import DatabaseError, OutboxTableMissing
from ...databases.outbox.rows import Beat, OutboxStatus
from ...topology.counts import counted, counted_doing
from ..outbox import is_relay_working, outbox_status
from .findings import Finding, at_risk, broken, kept, unknown

GUARANTEE: Final = "P16"
OLD: Final = timedelta(seconds=30)
"""A row that waits for longer waits for something that has broken."""
_START: Final = "start `stoker outbox relay`, two of them for the case that one dies"


def examine_outbox(url: str, table: str) -> list[Finding]:
    """Look at an outbox by its database's URL."""
    place = f"outbox {table}"
    try:
        status = outbox_status(url, table)
    except OutboxTableMissing as missing:
        return [broken(GUARANTEE, place, "its table is missing", str(missing))]
    except DatabaseError as error:
        return [unknown(GUARANTEE, place, "the database cannot be asked", str(error))]
    return list(check_outbox(place, status, datetime.now(UTC)))


def check_outbox(place: str, status: OutboxStatus, now: datetime) -> Iterator[Finding]:
    """Check an outbox by its status. Pure."""
    age = timedelta(0) if status.oldest_at is None else now - status.oldest_at
    rows = status.waiting + status.behind + status.failed
    if status.failed:
        first = status.first_failed[0]
        observed = f"{counted(status.failed, 'row')} cannot be published, with {status.behind:,} behind: {first.reason}"
        yield broken(GUARANTEE, place, observed, "fix that; or give these jobs up with `stoker outbox prune`")
    if not is_relay_working(status, now):
        finding = broken if rows else at_risk
        yield finding(GUARANTEE, place, f"no relay works, and {counted_doing(rows, 'row', 'wait')}", _START)
        return
    if status.beat is not None:
        yield from _check_pace(place, status, status.beat, age)


def _check_pace(place: str, status: OutboxStatus, beat: Beat, age: timedelta) -> Iterator[Finding]:
    if beat.trouble or (status.waiting and not status.failed and age > OLD):
        observed = f"{counted_doing(status.waiting, 'row', 'wait')}, the oldest for {age.total_seconds():.0f} s"
        why = "" if beat.trouble is None else f"; {beat.trouble}"
        yield broken(GUARANTEE, place, f"{observed}{why}", "see the relay's log")
    elif not status.failed:
        observed = f"rows: {status.waiting:,}, {beat.rate_per_s:,.0f} a second"
        yield kept(GUARANTEE, place, f"a relay publishes what is committed ({observed})")
