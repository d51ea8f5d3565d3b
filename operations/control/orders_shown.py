"""How orders are shown: in words for people, and as documents for programs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...schemas.own_records.control_records import ControlOrder


def described(order: ControlOrder, count: int = 1) -> str:
    """An order in words, of which there may be many: `pause queue mails until 2013-01-01 05:17:00Z`."""
    from ...topology.wire.orders import in_words

    discard = " and discard" if order.discard else ""
    due = "" if order.due_at is None else f" to {order.due_at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    return f"{order.verb}{discard} {in_words(order) if count == 1 else f'{count:,} jobs'}{due}{_until(order)}"


def _until(order: ControlOrder) -> str:
    """When it is over, where that is worth a word."""
    from ...producers.control.cancelling import STANDS_FOR
    from ...topology.wire.orders import ONCE, Verb

    if order.until is None or order.verb in ONCE:
        return ""
    if order.verb in (Verb.CANCEL, Verb.RESCHEDULE) and order.until - order.at >= STANDS_FOR:
        return ""
    return f" until {order.until.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def order_document(order: ControlOrder, count: int = 1) -> dict[str, object]:
    """An order for programs; of many jobs their number."""
    from ...schemas import wire_text
    from ...topology.wire.orders import DEPENDENCY, FILTER_ORDER, LIMIT

    target = {
        "queue": order.queue,
        "job_type": order.job_type,
        "key": None if order.key is None else wire_text(order.key),
        "dependency": order.detail.get(DEPENDENCY),
        "limit": order.detail.get(LIMIT),
        "tenant": order.tenant,
        "partition": order.partition,
        "job_id": order.job_id if count == 1 else None,
        "job_count": None if count == 1 else count,
        "before": order.before,
        "discard": order.discard or None,
        "order_id": order.detail.get(FILTER_ORDER),
        "worker": order.worker,
        "host": order.worker_host,
    }
    return {
        "order_id": order.order_id,
        "verb": order.verb,
        "target": {name: value for name, value in target.items() if value is not None},
        "operator": order.operator,
        "host": order.host,
        "reason": order.reason,
        "at": order.at,
        "due_at": order.due_at,
        "place": None if order.place is None else asdict(order.place),
        "until": order.until,
        **_limit_document(order),
    }


def _limit_document(order: ControlOrder) -> dict[str, object]:
    """The change of a limit; None where only a newer Stoker can read it."""
    from ...topology.wire.orders import LimitChange, Verb

    if order.verb != Verb.LIMIT:
        return {}
    try:
        change = LimitChange.of_order(order)
    except ValueError:
        return {"change": None}
    return {
        "change": {
            "count": change.count,
            "per_s": None if change.per is None else change.per.total_seconds(),
            "burst": change.burst,
            "is_lifted": change.is_lifted,
        }
    }
