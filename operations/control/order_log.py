"""Orders as they are shown: those that stand, and all that were given, with the answers of the workers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ...topology.wire.orders import Verb
from ..cli.output import Figure, age_since
from .orders_shown import described, order_document

if TYPE_CHECKING:
    from ...producers.control.answers import Answers, StatusBook
    from ...producers.control.standing import GivenOrder
    from ...schemas.own_records.control_records import ControlOrder

LOG_TITLES: Final = ("AT", "BY", "TAKEN", "ENDED", "ORDER", "REASON")
STANDING_TITLES: Final = ("ORDER", "SINCE", "BY", "REASON")


def log_row(given: GivenOrder, workers: StatusBook) -> Sequence[object]:
    """One order that was given, for people."""
    order = given.order
    return (
        f"{order.at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}",
        f"{order.operator}@{order.host}",
        _taken(_answers(given, workers)) if is_for_workers(given) else "-",
        Figure(f"{_ended(given, workers):,}" if _ends_jobs(order) else "-"),
        described(order, given.count),
        order.reason or "-",
    )


def is_for_workers(given: GivenOrder) -> bool:
    """Whether workers take it; changes of schedules are beside it, which workers do not answer."""
    return given.offset >= 0


def log_document(given: GivenOrder, workers: StatusBook) -> dict[str, object]:
    """The data of an order, for programs."""
    answers = _answers(given, workers)
    return {
        **order_document(given.order),
        "offset": given.offset,
        "taken_by_all": answers.is_taken_by_all if is_for_workers(given) else None,
        "taken": [answer.worker for answer in answers.taken if is_for_workers(given)],
        "not_taken": [answer.worker for answer in answers.missing if is_for_workers(given)],
        "ended": _ended(given, workers) if _ends_jobs(given.order) else None,
    }


def _ends_jobs(order: ControlOrder) -> bool:
    return order.verb == Verb.CANCEL or order.discard


def _ended(given: GivenOrder, workers: StatusBook) -> int:
    """How many jobs the workers whose statuses came have ended for an order, since they started."""
    return sum(one.status.ended.get(given.order.order_id, 0) for one in workers.statuses)


def _answers(given: GivenOrder, workers: StatusBook) -> Answers:
    return workers.answers(given.order.order_id, given.offset, time.time())


def _taken(answers: Answers) -> str:
    if not answers.answers:
        return "no worker runs"
    return f"{len(answers.taken)} of {len(answers.answers)}"


def as_ordered(orders: Iterable[ControlOrder]) -> list[tuple[ControlOrder, int]]:
    """Orders that stand, as people have given them: of one that names many jobs, the last one and how many stand."""
    found: dict[str, tuple[ControlOrder, int]] = {}
    for order in orders:
        found[order.order_id] = order, found.get(order.order_id, (order, 0))[1] + 1
    return list(found.values())


def standing_row(order: ControlOrder, count: int, now: datetime) -> Sequence[object]:
    """One order that stands, for people; of one by filter, its id as well, by which it is lifted."""
    over = " (over)" if order.is_over(now) else ""
    by = f"{order.operator}@{order.host}"
    named = f" (order {order.order_id})" if order.verb == Verb.CANCEL and order.job_id is None else ""
    return (f"{described(order, count)}{over}{named}", age_since(order.at), by, order.reason or "-")


def standing_document(order: ControlOrder, now: datetime) -> dict[str, object]:
    """The data of an order, for programs."""
    return {**order_document(order), "is_over": order.is_over(now)}
