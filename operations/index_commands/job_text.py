"""One job on one screen, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ..cli.output import Styled, styled, table_lines
from ..views.terminal_text import printable, printable_lines

if TYPE_CHECKING:
    from ..catalogue.owners import Owner
    from ..job_index.job_history import JobHistory
    from ..job_index.listed_jobs import ListedHistoryEntry, ListedJob

_WIDTH: Final = 12


def job_document(job: ListedJob) -> dict[str, object]:
    """A job for `--json`; what is not known is null."""
    found = {**asdict(job), "state": job.state.shown}
    found["took_s"] = None if job.took is None else job.took.total_seconds()
    del found["took"]
    return {name: None if value == "" else value for name, value in found.items()}


def job_history_document(history: JobHistory) -> dict[str, object]:
    """A history for `--json`."""
    return {
        **job_document(history.job),
        "history": [{**asdict(one), "detail": dict(one.detail)} for one in history.entries],
        "behind": None if history.front is None else history.front.job_id,
        "same_key": [{"job_id": one.job_id, "state": one.state.shown} for one in history.neighbours],
    }


def job_history_lines(history: JobHistory, why: Sequence[str], owner: Owner) -> Iterator[str]:
    """A history for people: what it is, why it is where it is, then each thing that happened to it."""
    job = history.job
    yield styled(f"{printable(job.job_type)}  {printable(job.job_id)}", bold=True)
    yield Styled("")
    yield from (_fact(name, value) for name, value in (*_facts(job), *owner.lines) if value)
    yield from (Styled(printable(sentence)) for sentence in ("", *why))
    yield Styled("")
    yield from table_lines(("TIME", "WHAT", "RUN", "BEGAN", "WORKER", "RELEASE", "MESSAGE"), _rows(history))
    yield from _stack(history.entries)
    if history.neighbours:
        yield Styled("")
        yield from table_lines(
            ("OF THE SAME KEY", "TYPE", "STATE"),
            [(one.job_id, one.job_type, one.state.shown) for one in history.neighbours],
        )


def _facts(job: ListedJob) -> Iterator[tuple[str, str]]:
    yield "state", job.state.shown
    yield "queue", job.queue
    yield "key", job.key or ""
    yield "tenant", job.tenant
    yield "enqueued", f"{_at(job.enqueued)}{f' by {job.source}' if job.source else ''}"
    yield "due", "" if job.due is None or job.state.has_ended else _at(job.due)
    yield "record", job.place


def _fact(name: str, value: str) -> Styled:
    return Styled(f"{name:<{_WIDTH}}{printable(value)}")


def _rows(history: JobHistory) -> list[tuple[object, ...]]:
    job = history.job
    rows: list[tuple[object, ...]] = [(_at(job.enqueued), "enqueued", "", "", "", "", _source(job))]
    rows += [_row(one) for one in history.entries]
    if job.state.shown == "done":
        took = "" if job.took is None else f"took {job.took.total_seconds():.3f} s"
        began = "" if job.began is None else _time(job.began)
        rows.append((_at(job.changed), "done", job.attempt, began, job.worker, job.release, took))
    return rows


def _source(job: ListedJob) -> str:
    return f"by {job.source}" if job.source else ""


def _row(one: ListedHistoryEntry) -> tuple[object, ...]:
    began = "" if one.began is None else _time(one.began)
    return (_at(one.at), one.kind, one.attempt, began, one.worker, one.release, _remarks(one))


def _remarks(one: ListedHistoryEntry) -> str:
    error = f"{one.error_type}: " if one.error_type else ""
    due = "" if one.due is None else f"; goes on {_at(one.due)}"
    by = one.detail.get("operator", "")
    return f"{error}{one.message or one.reason}{f' (by {by})' if by else ''}{due}".replace("\n", " ")


def _stack(entries: Sequence[ListedHistoryEntry]) -> Iterator[Styled]:
    """The stack of the last failure: those of one fingerprint are the same."""
    last = next((one for one in reversed(entries) if one.stack), None)
    if last is not None:
        yield Styled("")
        yield styled(f"stack of run {last.attempt} (fingerprint {printable(last.fingerprint)})", bold=True)
        yield from (Styled(f"  {line}") for line in printable_lines(last.stack).splitlines())


def _at(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{instant.microsecond // 1000:03d}Z"


def _time(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%H:%M:%S}.{instant.microsecond // 1000:03d}"
