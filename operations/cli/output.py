"""How commands print: aligned tables for people, JSON for programs; both go to stdout, and notes go to stderr.

All that a command prints goes through this module, so that foreign text cannot control the terminal: `echo_line` and
the tables escape whatever is not `Styled`, JSON escapes it in JSON's way.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import click

from ..views.terminal_text import json_text, printable, printable_lines

GAP = "  "


class Styled(str):
    """Text that was escaped already, with the colours that we gave it."""

    __slots__ = ()


def styled(text: str, **style: Any) -> Styled:
    """Foreign text in a colour of ours."""
    return Styled(click.style(printable(text), **style))


def echo_line(*parts: str, err: bool = False) -> None:
    """Print one line of parts without anything between them; whatever is not `Styled` is escaped."""
    click.echo("".join(part if isinstance(part, Styled) else printable(part) for part in parts), err=err)


def echo_lines(text: str, *, err: bool = False) -> None:
    """Print text of several lines, which may be foreign."""
    click.echo(printable_lines(text), err=err)


def drop_output() -> None:
    """Send what is still to be printed nowhere: its reader is gone, and the interpreter's last flush would fail."""
    with open(os.devnull, "wb") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.isatty():
                os.dup2(nowhere.fileno(), stream.fileno())


def print_json(value: object) -> None:
    """Print data as indented JSON; dataclasses become objects, instants RFC 3339, lengths of time seconds."""
    click.echo(json_text(json.dumps(value, default=_plain, indent=2, ensure_ascii=False)))


def print_json_line(value: object) -> None:
    """Print data as one line of JSON, for streams of it."""
    click.echo(json_text(json.dumps(value, default=_plain, ensure_ascii=False)))


def _plain(value: Any) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.value if isinstance(value, Enum) else str(value)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under titles; numbers and ages stand to the right, and nothing is ever cut off."""
    for line in table_lines(titles, rows):
        echo_line(line)


def print_fitting_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as `print_table` does, but on a terminal no line is wider than that: it ends with `…` instead.

    So the columns that matter most come first. Pipes and files get whole lines.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    head, *lines = (_cut(line, width) for line in _aligned(titles, rows))
    echo_line(styled(head, bold=True))
    for line in lines:
        echo_line(Styled(line))


def _cut(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def table_lines(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[Styled]:
    """Align the cells; the titles are bold where colour is shown."""
    head, *lines = _aligned(titles, rows)
    return [styled(head, bold=True), *map(Styled, lines)]


def _aligned(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table; foreign text is escaped."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    right = [all(_is_numeric(row[at]) for row in rows) and bool(rows) for at in range(len(titles))]
    return [_line(row, widths, right) for row in (titles, *cells)]


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        text.rjust(width) if to_right else text.ljust(width)
        for text, width, to_right in zip(cells, widths, right, strict=True)
    ]
    return GAP.join(padded).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else printable(str(value))


def _is_numeric(value: object) -> bool:
    return value is None or value == "" or isinstance(value, int | float | Figure)


class Figure(str):
    """A number or length of time as text; a type of its own so that tables set it to the right."""

    __slots__ = ()


def format_age(age: timedelta) -> Figure:
    """Write an age with its two largest units.

    >>> format_age(timedelta(hours=3, minutes=12, seconds=9))
    '3h12m'
    """
    total_s = max(int(age.total_seconds()), 0)
    units = [("d", total_s // 86_400), ("h", total_s // 3_600 % 24), ("m", total_s // 60 % 60), ("s", total_s % 60)]
    first = next((at for at, (_, count) in enumerate(units) if count), len(units) - 1)
    shown = [f"{count}{unit}" for unit, count in units[first : first + 2] if count]
    return Figure("".join(shown) or "0s")


def age_since(instant: datetime | None) -> Figure | None:
    """How long ago something was; None for None."""
    return None if instant is None else format_age(datetime.now(UTC) - instant)
