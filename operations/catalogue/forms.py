"""The catalogue for people, for documents and for programs: the same facts in three forms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ...topology.counts import counted
from ...topology.durations import format_duration
from ..statistics.text import figures, queue_line, rate
from .last_hour import Recent
from .measurements import NOT_MEASURED, Measured

if TYPE_CHECKING:
    from ...topology.declaration.catalogue import Catalogue, CataloguedJobType, CataloguedQueue, CataloguedSlo
    from ..statistics.reading import TypeStatistics

TITLES: Final = (
    "JOB TYPE",
    "QUEUE",
    "OWNER",
    "SUCCESS",
    "WAIT P99",
    "RUN P99",
    "DONE/S",
    "RETRIES",
    "LIMITS",
    "RUNBOOK",
)
MISSED: Final = "!"
UNKNOWN: Final = "?"


@dataclass(frozen=True, slots=True)
class Entry:
    """One job type of the catalogue, with its queue and what was measured of it.

    Attributes:
        recent: what statistics have of the last hour; None where they have nothing.
    """

    queue: CataloguedQueue
    job: CataloguedJobType
    measured: Measured
    recent: TypeStatistics | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The measured values, and where they come from.

    Attributes:
        measured: {job type: values that are compared with its promises}.
        measured_by: `index` or `statistics`; None where nothing is measured.
        note: the same in words.
    """

    measured: Mapping[str, Measured]
    measured_by: str | None
    note: str
    recent: Recent

    @property
    def notes(self) -> str:
        """Where all values come from, in words."""
        return f"{self.note} {self.recent.note}"


def entries(found: Catalogue, sources: Sources) -> list[Entry]:
    """All job types, queue by queue."""
    return [
        Entry(queue, job, sources.measured.get(job.name, NOT_MEASURED), sources.recent.of(queue.name, job.name))
        for queue in found.queues
        for job in queue.job_types
    ]


def row(entry: Entry) -> tuple[str, ...]:
    """A line of the table: measured values stand before what is promised, with a mark where they miss it."""
    job, measured = entry.job, entry.measured
    missed = measured.missed(job.slo)
    success, wait_s, run_s = _promised(job.slo)
    return (
        job.name,
        entry.queue.name,
        job.owner or "-",
        _compared(_share(measured.success), _share(success), is_missed="success" in missed),
        _compared(_time(measured.wait_p99_s), _time(wait_s), is_missed="wait" in missed),
        _compared(_time(measured.run_p99_s), _time(run_s), is_missed="run" in missed),
        "-" if entry.recent is None else rate(entry.recent.done_per_s),
        _retries(job),
        _limits(entry),
        job.runbook or "-",
    )


def _promised(slo: CataloguedSlo | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if slo is None else (slo.success, slo.wait_s, slo.run_s)


def _compared(measured: str | None, promised: str | None, *, is_missed: bool) -> str:
    """Write a measured value beside the promised one.

    >>> _compared("99.2%", "99.9%", is_missed=True), _compared(None, "99.9%", is_missed=False)
    ('! 99.2% of 99.9%', '? of 99.9%')
    >>> _compared("2.1s", None, is_missed=False), _compared(None, None, is_missed=False)
    ('2.1s', '-')
    """
    if measured is None and promised is None:
        return "-"
    mark = f"{MISSED} " if is_missed else ""
    return f"{mark}{measured or UNKNOWN}{'' if promised is None else f' of {promised}'}"


def _share(share: float | None) -> str | None:
    """Write a share, rounded down: what misses a promise must not look like it.

    >>> _share(0.999), _share(1.0), _share(0.99994)
    ('99.9%', '100%', '99.994%')
    """
    return None if share is None else f"{int(share * 1e5) / 1e3:g}%"


def _time(seconds: float | None) -> str | None:
    """Write a length of time, as exactly as people want it.

    >>> _time(0.0421), _time(2.14), _time(30.0), _time(90.0)
    ('42ms', '2.14s', '30s', '1m30s')
    """
    if seconds is None:
        return None
    if seconds < 1:
        return f"{seconds * 1e3:.0f}ms"
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"
    whole = round(seconds)
    parts = ((whole // 3_600, "h"), (whole // 60 % 60, "m"), (whole % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def _retries(job: CataloguedJobType) -> str:
    return f"{job.attempts} runs, {','.join(job.tiers)}" if job.attempts > 1 else "1 run"


def _limits(entry: Entry) -> str:
    return "; ".join([*entry.queue.limits.values(), *entry.job.limits.values()]) or "-"


# ---- the other facts of a job type, line by line


def facts(entry: Entry) -> Iterator[tuple[str, str]]:
    """All else that is declared of a job type, and is not empty."""
    job = entry.job
    yield "description", job.description
    yield "owner", job.owner
    yield "escalation", job.escalation
    yield "runbook", job.runbook
    yield "promised", _slo(job.slo)
    yield "measured", _measured(entry.measured)
    yield "last hour", "" if entry.recent is None else queue_line(entry.recent)
    yield "key", job.key
    yield "tenant", job.tenant
    yield "priority", job.priority
    yield "retries", _retries(job)
    yield "timeout", format_duration(timedelta(seconds=job.timeout_s))
    yield "limits", _limits(entry)
    yield "on dead", job.on_dead
    late_s = "" if job.late_after_s is None else f", after {_time(job.late_after_s)}"
    yield "on late", f"{job.on_late}{late_s}" if job.on_late else ""
    yield "stories", "" if job.story_arguments else "without the arguments"


def _slo(slo: CataloguedSlo | None) -> str:
    success, wait_s, run_s = _promised(slo)
    words = (("success", _share(success)), ("wait", _time(wait_s)), ("run", _time(run_s)))
    return ", ".join(f"{name} {value}" for name, value in words if value)


def _measured(measured: Measured) -> str:
    if measured.success is None:
        return "not measured"
    times = (("wait", _time(measured.wait_p99_s)), ("run", _time(measured.run_p99_s)))
    words = [f"{name} {value} at p99" for name, value in times if value]
    return ", ".join([f"success {_share(measured.success)} of {counted(measured.done + measured.dead, 'job')}", *words])


# ---- Markdown


def markdown(found: Catalogue, listed: Sequence[Entry], sources: Sources) -> Iterator[str]:
    """The whole catalogue as a page; foreign text cannot break its tables."""
    yield f"# {_cell(found.namespace)}"
    yield ""
    if found.description:
        yield from (_cell(found.description), "")
    if not listed:
        yield "No job type is declared."
        return
    yield from _markdown_table(TITLES, [row(entry) for entry in listed])
    yield ""
    yield f"`{MISSED}` marks what misses its promise; `{UNKNOWN}` is not measured. {_cell(sources.notes)}"
    for entry in listed:
        yield from ("", f"## {_cell(entry.job.name)}", "")
        yield from (f"- {name}: {_cell(value)}" for name, value in facts(entry) if value)


def _markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(title.lower() for title in titles)} |"
    yield f"|{'---|' * len(titles)}"
    yield from (f"| {' | '.join(map(_cell, cells))} |" for cells in rows)


def _cell(text: str) -> str:
    r"""Write foreign text, so that it stays inside of its cell.

    >>> print(_cell("a|b <script>"))
    a\|b &lt;script&gt;
    """
    shown = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return shown.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`")


# ---- JSON


def document(found: Catalogue, listed: Sequence[Entry], sources: Sources) -> dict[str, object]:
    """The catalogue for programs: what `stoker topology show --json` has of queues and job types, `measured` and
    `last_hour`, which is of the statistics.

    All queues are there, with those of their job types that are listed.
    """
    measured = {
        entry.job.name: {"measured": _measured_document(entry), "last_hour": figures(entry.recent)} for entry in listed
    }
    return {
        "namespace": found.namespace,
        "description": found.description,
        "source": sources.note,
        "measured_by": sources.measured_by,
        "statistics": {"freshness": sources.recent.freshness, "at": sources.recent.at},
        "queues": [_queue_document(queue, measured) for queue in found.queues],
    }


def _queue_document(queue: CataloguedQueue, measured: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    own = {
        field.name: getattr(queue, field.name) for field in fields(queue) if field.name not in ("topics", "job_types")
    }
    jobs = [{**asdict(job), **measured[job.name]} for job in queue.job_types if job.name in measured]
    return {**own, "job_types": jobs}


def _measured_document(entry: Entry) -> dict[str, object]:
    measured = entry.measured
    return {**asdict(measured), "success": measured.success, "missed": list(measured.missed(entry.job.slo))}
