"""Actions as files: CSV for spreadsheets, JSON lines for programs."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from ..views.terminal_text import json_text
from .actions import AuditedAction

COLUMNS: Final = (
    *("at", "ended_at", "operator", "host", "command", "version", "kind", "action", "outcome", "about", "queue"),
    *("job_types", "job_id", "reason", "before", "after", "detail", "id"),
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is run as a formula by spreadsheets, and a reason or a key may be anybody's text."""


def action_document(action: AuditedAction) -> dict[str, object]:
    """An action for programs."""
    return {
        "id": action.id,
        "at": _instant(action.at),
        "ended_at": None if action.ended_at is None else _instant(action.ended_at),
        "kind": action.kind.value,
        "action": action.action,
        "outcome": action.outcome,
        "operator": action.operator,
        "host": action.host,
        "command": action.command,
        "version": action.version,
        "reason": action.reason,
        "about": action.about,
        "queue": action.queue or None,
        "job_types": list(action.job_types),
        "job_id": action.job_id,
        "before": dict(action.before),
        "after": dict(action.after),
        "detail": dict(action.detail),
    }


def write_jsonl(actions: Iterable[AuditedAction], to: TextIO) -> int:
    """Write each action as a line of JSON; returns how many."""
    count = 0
    for count, action in enumerate(actions, start=1):  # noqa: B007  # the last number is the answer
        to.write(json_text(json.dumps(action_document(action), ensure_ascii=False)) + "\n")
    return count


def write_csv(actions: Iterable[AuditedAction], to: TextIO) -> int:
    """Write each action as a row under a head; returns how many. No cell can be taken for a formula."""
    rows = csv.writer(to, lineterminator="\r\n")
    rows.writerow(COLUMNS)
    count = 0
    for count, action in enumerate(actions, start=1):  # noqa: B007  # as above
        document = action_document(action)
        rows.writerow([_cell(document[name]) for name in COLUMNS])
    return count


@contextmanager
def output(path: str) -> Iterator[TextIO]:
    """Where an export goes: stdout for `-`, else a file, which is there only once it is whole."""
    if path == "-":
        yield sys.stdout
        return
    part = Path(f"{path}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _cell(value: object) -> str:
    if isinstance(value, list):
        value = " ".join(map(str, value))
    text = "" if value is None or value == {} else value if isinstance(value, str) else json.dumps(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
