"""Texts of people in orders and audit entries: a terminal, or the name of a file, may have bytes that are no UTF-8."""

from __future__ import annotations

from datetime import UTC, datetime

from stoker.schemas.own_records.audit_entries import AuditEntry, decode_audit_entry, encode_audit_entry
from stoker.schemas.own_records.control_records import ControlOrder, RecordPlace, decode_order, encode_order

AT = datetime(2013, 1, 1, tzinfo=UTC)
ODD, ESCAPED = "caf\udce9", "caf\\udce9"


def test_an_audit_entry_escapes_what_is_no_text() -> None:
    """An action, such as the registration of a contract by a producer, must not fail over its program's name."""
    entry = AuditEntry(
        action_id="1", action="a", phase="begun", at=AT, began=AT, operator=ODD, host="h", command=ODD, after={"x": ODD}
    )
    read = decode_audit_entry(encode_audit_entry(entry))
    assert (read.operator, read.command, read.after, read.at) == (ESCAPED, ESCAPED, {"x": ESCAPED}, AT)


def test_an_order_escapes_what_is_no_text() -> None:
    """Its reason may be any argument; keys, which are bytes, and places stay as they are."""
    place = RecordPlace(topic="shop.mails", partition=0, offset=7)
    order = ControlOrder(
        order_id="1", verb="pause", operator="ann", host="h", at=AT, key=b"\xe9", place=place, reason=ODD
    )
    read = decode_order(encode_order(order))
    assert (read.reason, read.key, read.place) == (ESCAPED, b"\xe9", place)
