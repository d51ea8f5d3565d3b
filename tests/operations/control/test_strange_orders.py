"""Orders to change a limit that only another version of Stoker, or nobody, can read: they are listed all the same."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stoker.operations.control.orders_shown import described, order_document
from stoker.schemas.own_records.control_records import ControlOrder

ORDER = {"order_id": "1", "verb": "limit", "operator": "ann", "host": "web-1", "at": datetime(2013, 1, 1, tzinfo=UTC)}


@pytest.mark.parametrize(
    "detail", [{"count": "many"}, {"per_s": "soon"}, {"per_s": "inf"}, {"per_s": "1e300"}, {"burst": "1.5"}]
)
def test_a_limit_that_cannot_be_read_is_shown_by_its_name(detail: dict[str, str]) -> None:
    """It stands on the control topic for as long as nobody lifts it, and who is to lift it must find it."""
    order = ControlOrder(**ORDER, detail={"limit": "mails.rate", **detail})  # type: ignore[arg-type]  # a dict of several types
    assert described(order) == "limit mails.rate"
    assert order_document(order)["change"] is None
