"""The table of limits: reports of several workers become one, and what is old or unknown is marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from stoker.operations.control.limit_list import limit_document, limit_lines, seen_limits
from stoker.producers.control.answers import LastStatus
from stoker.schemas.own_records.control_records import ControlOrder, WorkerStatus
from stoker.topology import Concurrency, Pipeline, Rate

NOW = datetime(2013, 1, 31, 12, tzinfo=UTC)


def shop() -> Pipeline:
    """With a limit that workers share, and two by tenant."""
    pipeline = Pipeline("shop")
    queue = pipeline.queue(
        "mails",
        route_by="tenant",
        limits=[
            Rate(100, per=timedelta(seconds=1)),
            Rate(10, per=timedelta(minutes=1), by="tenant"),
            Concurrency(2, by="tenant"),
        ],
    )
    pipeline.job(queue, name="work")(lambda: None)
    return pipeline


def seen(worker: str, ago_s: float = 1.0, **limits: dict[str, Any]) -> LastStatus:
    """A status that was written so long ago."""
    named = {name.replace("__", "."): report for name, report in limits.items()}
    status = WorkerStatus(
        id=worker,
        host="web",
        pid=1,
        version="1",
        state="running",
        started_at=NOW,
        at=NOW,
        queues=(),
        memory_bytes=0,
        control_offset=0,
        control_age_s=0.0,
        detail={"limits": json.dumps(named)},
    )
    return LastStatus(status=status, last_seen_at_s=NOW.timestamp() - ago_s)


def report(*listed: dict[str, Any], held: int = 0, keeps: bool = True) -> dict[str, Any]:
    """As a worker writes it."""
    full = sum(scope["used"] >= scope["of"] > 0 for scope in listed)
    return {"held": held, "keeps": keeps, "scopes": len(listed) * keeps, "full": full * keeps, "listed": listed}


def scope(value: str | None, used: int, of: int, held: int = 0, next_s: float | None = None) -> dict[str, Any]:
    """As a worker writes it."""
    return {"value": value, "used": used, "of": of, "held": held, "next_s": next_s}


def lines(statuses: Sequence[LastStatus], orders: Sequence[ControlOrder] = ()) -> list[str]:
    """The table."""
    return [str(line) for line in limit_lines(seen_limits(shop(), orders, statuses, NOW.timestamp()))]


def test_reports_of_several_workers_become_one() -> None:
    """The coordinator knows what is used, each worker what waits; tenants are those of all owners."""
    first = seen(
        "w1",
        mails__rate=report(scope(None, 87, 100, next_s=0.3), scope(None, 0, 0, 40), held=40),
        mails__rate__tenant=report(scope("acme", 10, 10, 7, 12.0), scope("zeta", 3, 10), held=7),
    )
    second = seen(
        "w2",
        mails__rate=report(scope(None, 0, 0, 2), held=2, keeps=False),
        mails__rate__tenant=report(scope("west", 10, 10, 9, 5.5), held=9),
        mails__concurrency__tenant=report(scope("west", 2, 2, 3), held=3),
    )
    assert [" ".join(line.split()) for line in lines([first, second])[1:]] == [
        "mails.rate queue mails 100/1s - 87 of 100 42 in 0.3s",
        "mails.rate.tenant queue mails 10/1m by tenant - 3 in use, 2 full 16 in 5.5s",
        "west 10 of 10 9 in 5.5s",
        "acme 10 of 10 7 in 12s",
        "zeta 3 of 10 0 -",
        "mails.concurrency.tenant queue mails 2 at once by tenant - 1 in use, 1 full 3 when one ends",
        "west 2 of 2 3 -",
    ]


def test_what_is_old_or_unknown_is_marked() -> None:
    """A worker that hangs; a shared limit without coordinator; limits that no worker reports."""
    hangs = seen("w1", 23.0, mails__rate=report(scope(None, 0, 0, 40), held=40, keeps=False))
    found = lines([hangs])
    assert found[1].split() == ["mails.rate", "queue", "mails", "100/1s", "-", "?", "40", "?"]
    assert found[2:4] == [
        "  ! no shares of it are given: no worker has partition 0 of queue mails yet",
        "  ! what worker w1 has reported is 23s old: it hangs, was killed, or is cut off",
    ]
    assert found[4].split() == ["mails.rate.tenant", "queue", "mails", "10/1m", "by", "tenant", "-", "?", "?", "-"]


def test_orders_stand_beside_what_is_declared() -> None:
    """By whom, until when and why; one that is over is none."""
    order = ControlOrder(
        order_id="1",
        verb="limit",
        operator="ann",
        host="web-1",
        at=datetime.now(UTC) - timedelta(minutes=5),
        until=NOW + timedelta(hours=2),
        reason="they are slow",
        detail={"limit": "mails.rate", "count": "5"},
    )
    found = lines([], [order])
    assert found[1].split() == ["mails.rate", "queue", "mails", "100/1s", "5/1s", "?", "?", "-"]
    assert found[2] == "  ordered 5m ago by ann@web-1, until 2013-01-31 14:00:00Z: they are slow"
    (seen, *_) = seen_limits(shop(), [order], [], NOW.timestamp())
    document = limit_document(seen)
    assert document["declared"] == {"count": 100, "per_s": 1.0, "burst": None}
    assert document["in_force"] == {"count": 5, "per_s": 1.0, "burst": None}
    assert (document["held"], document["scopes"]) == (None, [])
    over = seen_limits(shop(), [order], [], NOW.timestamp() + 8_000)
    assert over[0].order is None


def test_an_order_that_does_not_fit_changes_nothing() -> None:
    """Such as a burst of a limit that was declared with one before; workers pass over it, and report that."""
    order = ControlOrder(
        order_id="1",
        verb="limit",
        operator="ann",
        host="web-1",
        at=NOW,
        detail={"limit": "mails.rate", "burst": "5"},
    )
    (seen, *_) = seen_limits(shop(), [order], [], NOW.timestamp())
    assert (seen.in_force, seen.is_lifted) == (seen.declared, False)


def test_of_a_window_whose_next_is_not_reported_the_latest_is_shown() -> None:
    """The coordinator lists few of very many scopes; what is full now has room before the window is over."""
    listed = report(scope(None, 100, 100), scope(None, 0, 0, 40), held=40)
    assert lines([seen("w1", mails__rate=listed)])[1].split()[-2:] == ["within", "1s"]
