"""How dead letters are shown: as rows, as groups, as JSON, and one of them in full."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ...topology.wire import headers as wire
from ..catalogue.owners import NOBODY, Owner
from ..stored_jobs.truncation import truncation_text
from ..views.terminal_text import printable
from .output import print_fitting_table

if TYPE_CHECKING:
    from ...schemas import Decoder
    from ...topology import Pipeline
    from ..stored_jobs.dead_letters import DeadLetter, DeadLetterHistory
    from ..stored_jobs.dispositions import Disposition
    from ..stored_jobs.stored_job import StoredJob
    from ..stored_jobs.tally import DeadLetterGroup, GroupKey, GroupTally

_CELL: Final = 48
_HEX_BYTES: Final = 512


def when(instant: datetime) -> str:
    """A moment, to the second, in UTC."""
    return instant.strftime("%Y-%m-%d %H:%M:%SZ")


def dead_letter_row(dead_letter: DeadLetter, owner: Owner = NOBODY) -> dict[str, object]:
    """A dead letter without its payload and stack."""
    record = dead_letter.record
    return {
        "ref": str(record.ref),
        "at": record.at.isoformat(),
        "job_type": record.job_type,
        "id": record.job_id,
        "key": record.key_text,
        "tenant": record.tenant or None,
        "attempt": record.text(wire.ATTEMPT),
        "reason": record.reason,
        "error_type": record.error_type,
        "error_message": record.text(wire.ERROR_MESSAGE),
        "fingerprint": record.fingerprint,
        "origin": record.text(wire.ORIGIN),
        "first_failed": record.text(wire.FIRST_FAILED),
        "deferred_since": record.text(wire.DEFERRED_SINCE) or None,
        "status": dead_letter.status,
        "truncated": truncation_text(record) or None,
        "twins": [str(ref) for ref in dead_letter.twins],
        **owner.document,
    }


def print_dead_letters(rows: Iterable[dict[str, Any]]) -> None:
    """Rows for people; texts are cut to what a line can hold. Tenants and owners have columns where a row has one."""
    shown = list(rows)
    some = [name for name in ("tenant", "owner") if any(row[name] for row in shown)]
    named = [name.upper() for name in some]
    titles = ("REF", "STATUS", "DIED", "TYPE", *named, "KEY", "REASON", "ERROR", "ATTEMPT", "ID", "FINGERPRINT")
    print_fitting_table(titles, [_dead_letter_cells(row, some) for row in shown])


def _dead_letter_cells(row: dict[str, Any], some: Iterable[str]) -> list[str]:
    error = f"{row['error_type'].rpartition('.')[2]}: {_first_line(row['error_message'])}".strip(": ")
    named = (row["job_type"], *(row[name] or "" for name in some), row["key"] or "")
    shown = (*named, row["reason"], error, row["attempt"], row["id"], row["fingerprint"][:8])
    return [row["ref"], row["status"], when(datetime.fromisoformat(row["at"])), *map(_cut, shown)]


def print_groups(tally: GroupTally) -> None:
    """Counts by type and error for people."""
    titles = ("COUNT", "TYPE", "REASON", "ERROR", "EXAMPLE", "MESSAGE", "FINGERPRINT", "FIRST", "LAST")
    print_fitting_table(titles, [_group_cells(key, group) for key, group in tally.groups()])


def _group_cells(key: GroupKey, group: DeadLetterGroup) -> list[object]:
    named = (key.job_type or "(no type)", key.reason, key.error_type.rpartition(".")[2], str(group.example))
    more = (_first_line(group.message), key.fingerprint[:8])
    return [group.count, *map(_cut, (*named, *more)), when(group.first), when(group.last)]


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _cut(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _CELL else f"{shown[: _CELL - 1]}…"


def payload_of(record: StoredJob, pipeline: Pipeline, decoder: Decoder) -> tuple[str, object]:
    """The payload as JSON data with how it was read; as base64 when it is none."""
    from ...schemas import DecodeError, StoreError

    try:
        if record.job_type in pipeline.job_types:
            contract = pipeline.job_types[record.job_type].contract
            return "read with today's schema", contract.to_json(decoder.decode(contract, record.value or b""))
        return "read as it was written", _plain(decoder.decode_as_written(record.value or b"", record.job_type)[1])
    except (DecodeError, StoreError) as unreadable:
        return f"{unreadable}", {"base64": base64.b64encode(record.value or b"").decode()}


def _plain(datum: object) -> object:
    """Avro data without a contract, as near to JSON as it comes."""
    if isinstance(datum, dict):
        return {name: _plain(value) for name, value in datum.items()}
    if isinstance(datum, list):
        return [_plain(value) for value in datum]
    if isinstance(datum, bytes):
        return {"base64": base64.b64encode(datum).decode()}
    return datum if isinstance(datum, str | int | float | bool | None) else str(datum)


def history_document(
    history: DeadLetterHistory, how_read: str, payload: object, owner: Owner = NOBODY
) -> dict[str, object]:
    """All about one dead letter, for programs."""
    record = history.record
    headers = [
        [name, None if value is None else value.decode("utf-8", "replace")] for name, value in record.raw_headers
    ]
    return {
        "ref": str(record.ref),
        "at": record.at.isoformat(),
        "id": record.job_id,
        "job_type": record.job_type,
        "key": record.key_text,
        "tenant": record.tenant or None,
        "headers": headers,
        "payload": payload,
        "payload_read": how_read,
        "truncated": truncation_text(record) or None,
        "value_base64": None if record.value is None else base64.b64encode(record.value).decode(),
        "twins": [str(ref) for ref in history.twins],
        "dispositions": [_disposition_document(one) for one in history.dispositions],
        **owner.document,
    }


def _disposition_document(disposition: Disposition) -> dict[str, object]:
    return {
        "verdict": disposition.verdict.value,
        "at": disposition.at.isoformat() if disposition.at else None,
        "action_id": disposition.action_id,
        "operator": disposition.operator,
        "reason": disposition.reason,
    }


def history_lines(history: DeadLetterHistory, how_read: str, payload: object, owner: Owner = NOBODY) -> Iterator[str]:
    """All about one dead letter, for people."""
    import json

    record = history.record
    yield f"dead letter {record.ref}, died {when(record.at)}"
    for title, value in (*_facts(record), *owner.lines):
        if value:
            yield f"  {title:<14} {value}"
    truncation = printable(truncation_text(record))
    if truncation:
        yield f"  {'truncated':<14} {truncation}"
    if history.twins:
        places = ", ".join(map(str, history.twins))
        yield f"  {'twins':<14} {places}: a worker crashed after it had written this one, and its job died once more"
    yield ""
    yield from _section("error", record.text(wire.ERROR_MESSAGE))
    yield from _section("stack", record.text(wire.ERROR_STACK))
    if isinstance(payload, dict) and list(payload) == ["base64"]:
        yield from _section(f"payload ({how_read})", _hex_dump(record.value or b""))
    else:
        yield from _section(f"payload ({how_read})", json.dumps(payload, indent=2, ensure_ascii=False))
    yield from _section("headers", "\n".join(_header_lines(record)))
    lines = [_disposition_line(one) for one in history.dispositions] or ["open: neither replayed nor discarded"]
    yield from _section("what was done", "\n".join(lines))


def _facts(record: StoredJob) -> Iterator[tuple[str, str]]:
    yield "job type", record.job_type
    yield "job id", record.job_id
    yield "key", record.key_text or ""
    yield "tenant", record.tenant
    yield "enqueued", f"{record.text(wire.TIME)} by {record.text(wire.SOURCE)}"
    yield "origin", record.text(wire.ORIGIN)
    yield "attempt", record.text(wire.ATTEMPT)
    yield "first failed", record.text(wire.FIRST_FAILED)
    yield "deferred since", record.text(wire.DEFERRED_SINCE)
    yield "worker", record.text(wire.WORKER)
    yield "reason", record.reason
    yield "error", record.error_type
    yield "fingerprint", record.fingerprint
    yield "replay", record.replay


def _section(title: str, body: str) -> Iterator[str]:
    if body:
        yield f"{title}:"
        yield from (f"  {line.expandtabs()}" for line in body.rstrip().split("\n"))
        yield ""


def _header_lines(record: StoredJob) -> Iterator[str]:
    for name, value in record.raw_headers:
        if name not in (wire.ERROR_STACK, wire.ERROR_MESSAGE):
            yield f"{name}: {'(null)' if value is None else value.decode('utf-8', 'backslashreplace')}"


def _hex_dump(value: bytes) -> str:
    shown = value[:_HEX_BYTES]
    lines = [f"{at:06x}  {shown[at : at + 16].hex(' ')}" for at in range(0, len(shown), 16)] or ["(empty)"]
    return "\n".join([*lines, *([f"… {len(value):,} bytes in all"] if len(value) > _HEX_BYTES else [])])


def _disposition_line(one: Disposition) -> str:
    reason = f": {one.reason}" if one.reason else ""
    return f"{one.verdict.value} {when(one.at) if one.at else ''} by {one.operator} ({one.action_id}){reason}"
