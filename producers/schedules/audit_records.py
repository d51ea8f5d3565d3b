"""Audit records of schedules: who changed which, why and from where, and what differs before and after."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict
from datetime import datetime
from typing import Final
from zlib import crc32

from ...schemas.own_records.control_records import ControlOrder, encode_order
from ...schemas.own_records.schedule_records import ScheduleRecord
from ...topology import Pipeline
from ...topology.actor import Actor
from ...topology.wire.headers import actor_headers
from ...topology.wire.schedules import ScheduleKey
from ..transaction_writer import TransactionRecord

BEFORE: Final = "before"
AFTER: Final = "after"
"""In the detail of the order: JSON, {field: its value}, of the fields that differ."""
_NOT_SHOWN: Final = frozenset({"name", "version", "operator", "host", "at", "reason", "value", "headers", "detail"})


def audit_record(
    pipeline: Pipeline, actor: Actor, verb: str, by: ScheduleRecord, change: tuple[ScheduleRecord | None, ...]
) -> TransactionRecord:
    """Make the record of a change.

    Args:
        by: who makes it, where, when and why.
        change: the schedule before and after; None where it is not there. Equal ones for a change of nothing.
    """
    old, new = change
    schedule = new or old or by
    order = ControlOrder(
        order_id=str(uuid.uuid4()),
        verb=verb,
        operator=by.operator,
        host=by.host,
        at=by.at,
        queue=schedule.queue,
        reason=by.reason,
        detail={"schedule": schedule.name, **_differences(old, new)},
    )
    return TransactionRecord(
        topic=pipeline.audit_topic,
        key=ScheduleKey.SCHEDULE.of(schedule.name),
        value=encode_order(order),
        headers=actor_headers(actor.command, actor.version),
    )


def _differences(old: ScheduleRecord | None, new: ScheduleRecord | None) -> dict[str, str]:
    before, after = _fields(old), _fields(new)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    sides = {BEFORE: before, AFTER: after}
    found = {side: {name: fields[name] for name in sorted(changed & fields.keys())} for side, fields in sides.items()}
    return {side: json.dumps(fields, ensure_ascii=False) for side, fields in found.items() if fields}


def _fields(schedule: ScheduleRecord | None) -> dict[str, object]:
    """The fields for people; of the arguments, which may be personal data, a checksum."""
    if schedule is None:
        return {}
    found = {name: _plain(value) for name, value in asdict(schedule).items() if name not in _NOT_SHOWN}
    arguments = "" if schedule.value is None else f"{len(schedule.value)} bytes, checksum {crc32(schedule.value):08x}"
    return {name: value for name, value in {**found, "arguments": arguments}.items() if value not in (None, "")}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.decode(errors="replace") if isinstance(value, bytes) else value
