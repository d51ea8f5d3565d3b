"""Each kind of event is one class, fits the schema, and is written by somebody."""

from __future__ import annotations

import ast
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from stoker.schemas import decode_own, own_schema
from stoker.schemas.own_records.job_events import (
    OWN_FIELDS,
    EventSubject,
    JobBlocking,
    JobEndedByCancel,
    JobEvent,
    JobProgressed,
    JobRetried,
    JobsWaiting,
    WorkerDecided,
    encode_event,
    event_datum,
)

KINDS: tuple[Any, ...] = get_args(JobEvent)
SCHEMA: dict[str, Any] = {field["name"]: field for field in own_schema("JobEvent")["fields"]}
ROOT = Path(__file__).parents[3]
SUBJECT = EventSubject(job_id="1", job_type="t", queue="q", topic="n.q", partition=0, offset=5, attempt=2)
AT = datetime(2013, 1, 1, tzinfo=UTC)
EMPTY: dict[str, Any] = {
    "reason": "",
    "error_type": "",
    "detail": {},
    "fingerprint": "",
    "stack": "",
    "began": None,
    "due": None,
}
IN_DETAIL = {
    JobEndedByCancel: {"by"},
    JobProgressed: {"done", "total"},
    JobBlocking: {"since", "more"},
    JobsWaiting: {"counts"},
    WorkerDecided: {"phase", "more"},
}
"""{class: its fields that stand in `detail`}."""


def test_the_kinds_of_the_schema_are_the_classes() -> None:
    """A kind without a class is one that nobody can write; a class without a kind cannot be encoded."""
    assert sorted(kind.kind for kind in KINDS) == sorted(SCHEMA["event"]["type"]["symbols"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_each_field_of_each_kind_is_in_the_schema(kind: Any) -> None:
    """By its own name, or in `detail`, where what is of one kind only belongs."""
    own = {field.name for field in fields(kind)} - {"subject"} - IN_DETAIL.get(kind, set())
    assert own <= set(SCHEMA)
    assert own <= {"at", "worker", "release", *OWN_FIELDS}
    assert {field.name for field in fields(EventSubject)} <= set(SCHEMA)


def test_all_fields_of_the_schema_are_written() -> None:
    """One that no event has would be dead weight on the wire."""
    written = {"event", "at", "worker", "release", *(field.name for field in fields(EventSubject)), *OWN_FIELDS}
    assert written == set(SCHEMA)
    assert all(any(hasattr(kind, name) for kind in KINDS) for name in OWN_FIELDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_each_kind_is_written_by_somebody(kind: Any) -> None:
    """A reader who waits for a kind that is listed gets it."""
    assert kind.__name__ in _called()


def test_events_come_back_as_they_were() -> None:
    """The parts of `detail` are texts; what a kind has not is empty."""
    progressed = JobProgressed(subject=SUBJECT, at=AT, worker="w", message="half", done=5, total=10)
    retried = JobRetried(subject=SUBJECT, at=AT, worker="w", message="no", error_type="ValueError", began=AT, due=AT)
    for event in (progressed, retried):
        read = decode_own("JobEvent", encode_event(event))
        assert read == {**EMPTY, **event_datum(event)}
    assert event_datum(progressed)["detail"] == {"done": "5", "total": "10"}
    assert event_datum(retried)["reason"] == "failed"


@cache  # the layers are read once, not for each kind
def _called() -> frozenset[str]:
    """The names of all that is called in the layers that write events."""
    files = [path for layer in ("consumers", "operations") for path in (ROOT / layer).rglob("*.py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    return frozenset(node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
