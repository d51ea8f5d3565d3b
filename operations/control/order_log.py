"""Orders as they are shown: those that stand, and all that were given, with the answers of the workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ..cli.output import age_since
from .giving import described, order_document

if TYPE_CHECKING:
    from ...producers.control.answers import Answers, StatusBook
    from ...producers.control.standing import GivenOrder
    from ...schemas.control_records import ControlOrder

LOG_TITLES: Final = ("AT", "BY", "ORDER", "TAKEN", "REASON")
STANDING_TITLES: Final = ("ORDER", "SINCE", "BY", "REASON")


def log_row(given: GivenOrder, workers: StatusBook) -> Sequence[object]:
    """One order that was given, for people."""
    order = given.order
    return (
        f"{order.at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}",
        f"{order.operator}@{order.host}",
        described(order),
        _taken(_answers(given, workers)),
        order.reason or "-",
    )


def log_document(given: GivenOrder, workers: StatusBook) -> dict[str, object]:
    """The same for programs."""
    answers = _answers(given, workers)
    return {
        **order_document(given.order),
        "offset": given.offset,
        "taken_by_all": answers.is_taken_by_all,
        "taken": [answer.worker for answer in answers.taken],
        "not_taken": [answer.worker for answer in answers.missing],
    }


def _answers(given: GivenOrder, workers: StatusBook) -> Answers:
    return workers.answers(given.order.order_id, given.offset, time.time())


def _taken(answers: Answers) -> str:
    if not answers.answers:
        return "no worker runs"
    return f"{len(answers.taken)} of {len(answers.answers)}"


def standing_row(order: ControlOrder, now: datetime) -> Sequence[object]:
    """One order that stands, for people."""
    over = " (over)" if order.is_over(now) else ""
    by = f"{order.operator}@{order.host}"
    return (f"{described(order)}{over}", age_since(order.at), by, order.reason or "-")


def standing_document(order: ControlOrder, now: datetime) -> dict[str, object]:
    """The same for programs."""
    return {**order_document(order), "is_over": order.is_over(now)}
