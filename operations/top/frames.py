"""Frames of `stoker top`: a picture as lines that fit a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Final

import click

from ..cli.output import Figure, Styled, format_age, styled, table_lines
from ..views.terminal_text import printable
from .picture import FailureLine, Picture, QueueLine, SlowLine, TypeLine, WorkerLine

_LEAST: Final = 3
"""The lines of a section with one row, and the one before it."""
_MIB: Final = 1024 * 1024
_UNKNOWN: Final = Figure("?")

Row = Sequence[object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A table of the screen.

    Attributes:
        empty: what stands there without rows.
    """

    titles: Sequence[str]
    rows: Sequence[Row]
    empty: str

    @property
    def height(self) -> int:
        """The lines that it needs, with its title."""
        return 1 + max(len(self.rows), 1)

    def lines(self, height: int, width: int) -> list[Styled]:
        """The table in so many lines; the last one counts the rows that are missing."""
        if not self.rows:
            return [styled(_cut(self.empty, width), dim=True)][:height]
        fits = len(self.rows) if self.height <= height else max(height - 2, 1)
        head, *rows = (_cut(line, width) for line in _plain(self.titles, self.rows[:fits]))
        more = [] if fits == len(self.rows) else [styled(_cut(f"… {len(self.rows) - fits:,} more", width), dim=True)]
        return [styled(head, bold=True), *map(Styled, rows), *more][:height]


def frame(picture: Picture, width: int, height: int, hint: str = "") -> list[Styled]:
    """The lines of a screen: never more than `height`, none wider than `width`.

    Args:
        hint: what keys do.
    """
    head, foot = [_head(picture, width, hint)], [styled(_cut(line, width), dim=True) for line in picture.missing]
    sections = _sections(picture)
    room = height - len(head) - len(foot)
    if room < len(sections) * _LEAST:  # a small window: the last sections, and what is not known, have no place
        foot, room = [], height - len(head)
        sections = sections[: room // _LEAST]
    lines = list(head)
    for section, share in zip(sections, _shares([one.height + 1 for one in sections], room), strict=True):
        lines += [Styled(""), *section.lines(share - 1, width)]
    return [*lines, *foot][:height]


def _head(picture: Picture, width: int, hint: str) -> Styled:
    at = f"{picture.at.astimezone(UTC):%H:%M:%S} UTC"
    if picture.trouble:
        return styled(_cut(f"{picture.namespace}  as of {at}: {printable(picture.trouble)}", width), fg="red")
    return styled(_cut(f"{picture.namespace}  {at}  {hint}".rstrip(), width), bold=True)


def _sections(picture: Picture) -> list[_Section]:
    return [
        _Section(
            titles=("QUEUE", "WAITING", "GROWTH/S", "OLDEST", "DONE/S", "FAILED/S", "WORKERS", "DEAD RECORDS", ""),
            rows=[_queue_row(line) for line in picture.queues],
            empty="no queues",
        ),
        _Section(
            titles=("TYPE", "DONE/S", "FAILED/S", "MEDIAN", "P95", "QUEUE"),
            rows=[_type_row(line) for line in picture.types],
            empty=f"no job has ended in the last {picture.watched_s:.0f} s",
        ),
        _Section(
            titles=("WORKER", "STATE", "RUNNERS", "MEMORY", "STATUS AGE", "QUEUES"),
            rows=[_worker_row(line) for line in picture.workers],
            empty="no worker runs: `stoker worker` starts one",
        ),
        _Section(
            titles=("SLOWEST RUNNING", "TYPE", "FOR", "TIMEOUT", "STATE", "WORKER"),
            rows=[_slow_row(line) for line in picture.slow],
            empty="no job holds up its partition",
        ),
        _Section(
            titles=("FAILURE", "COUNT", "TYPE", "MESSAGE"),
            rows=[_failure_row(line) for line in picture.failures],
            empty=f"no failures {picture.failures_of}".rstrip(),
        ),
    ]


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Share lines out: each gets what it wants or an equal part; what is left goes to the first that want more.

    >>> _shares([3, 20, 4], 18)
    [3, 11, 4]
    """
    shares = [0] * len(wanted)
    left = max(room, 0)
    open_ones = [at for at, wish in enumerate(wanted) if wish]
    while left and open_ones:
        part = max(left // len(open_ones), 1)
        for at in list(open_ones):
            given = min(part, wanted[at] - shares[at], left)
            shares[at], left = shares[at] + given, left - given
            if shares[at] == wanted[at]:
                open_ones.remove(at)
    return shares


def _queue_row(line: QueueLine) -> Row:
    growth = line.growth_per_s
    return (
        line.name,
        line.waiting,
        _UNKNOWN if growth is None else Figure(f"{growth:+,.1f}"),
        _age(line.oldest_s),
        _rate(line.done_per_s),
        _rate(line.failed_per_s),
        line.workers,
        line.dead_records,
        f"! {line.note}" if line.note else "",
    )


def _type_row(line: TypeLine) -> Row:
    return (
        line.name,
        _rate(line.done_per_s),
        _rate(line.failed_per_s),
        _length(line.median_s),
        _length(line.p95_s),
        line.queue,
    )


def _worker_row(line: WorkerLine) -> Row:
    return (
        f"{line.id}@{line.host}",
        line.state,
        Figure(f"{line.busy}/{line.runners}"),
        Figure(f"{line.memory_bytes / _MIB:.0f} MiB"),
        _age(line.silent_s),
        ", ".join(line.queues),
    )


def _slow_row(line: SlowLine) -> Row:
    return (
        line.job_id,
        line.job_type,
        _age(line.running_s),
        _age(line.timeout_s),
        line.state,
        line.worker,
    )


def _failure_row(line: FailureLine) -> Row:
    return (line.error_type.rpartition(".")[2] or "?", line.count, line.job_type, line.message.split("\n")[0])


def _rate(per_s: float | None) -> Figure:
    return _UNKNOWN if per_s is None else Figure(f"{per_s:,.1f}")


def _age(seconds: float | None) -> Figure:
    return Figure("-") if seconds is None else format_age(timedelta(seconds=seconds))


def _length(seconds: float | None) -> Figure:
    """A length of time in three digits or so.

    >>> _length(0.0042), _length(12.3)
    ('4.2ms', '12.3s')
    """
    if seconds is None:
        return Figure("-")
    return Figure(f"{seconds * 1e3:.1f}ms" if seconds < 1 else f"{seconds:,.1f}s")


def _plain(titles: Sequence[str], rows: Sequence[Row]) -> list[str]:
    return [click.unstyle(line) for line in table_lines(titles, rows)]


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: max(width - 1, 0)]}…"
