"""Options, and types of their values, that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import click

if TYPE_CHECKING:
    from ...databases import Dialect
    from ...producers.metrics.health import Health
    from ...producers.metrics.sample import SampleSource
    from ...producers.metrics.server import MetricsServer

Command = TypeVar("Command", bound=Callable[..., object])
Option = Callable[[Any], Any]  # as click makes them, for functions of any kind
Options: TypeAlias = dict[str, Any]
"""{option: its value}, as click gives them: only the declaration of the option knows the type."""
LOOPBACK: Final = "127.0.0.1"
LAST_PORT: Final = 65_535
DIALECTS: Final = ("postgresql", "sqlite")


class Duration(click.ParamType):
    """A length of time, written like 500ms, 5s, 10m, 2h, 7d or 1h30m."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or raise a usage error with examples."""
        from ...topology import parse_duration

        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


class Instant(click.ParamType):
    """A point in time; `operations/instants.py` has its forms."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the text; what is an instant already stays."""
        from ..instants import parse_when

        if isinstance(value, datetime):
            return value
        try:
            return parse_when(str(value), datetime.now(UTC))
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


INSTANT: Final = Instant()


class FromNow(click.ParamType):
    """A length of time from now, or a point in time."""

    name = "duration|instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime | timedelta:
        """Read it, or raise a usage error with examples of both forms."""
        from ...topology import parse_duration
        from ..instants import OffsetMissing, parse_when

        text = str(value)
        try:
            return parse_duration(text)
        except ValueError:
            pass  # then it must be a point in time
        try:
            return parse_when(text, datetime.now(UTC))
        except OffsetMissing as missing:
            self.fail(str(missing), param, ctx)
        except ValueError:
            self.fail(f"{text!r} is neither a length of time (2h) nor an instant (2026-01-31T08:00:00Z)", param, ctx)


def instant_of(value: datetime | timedelta | None) -> datetime | None:
    """The point in time that a value of `FromNow` names."""
    return datetime.now(UTC) + value if isinstance(value, timedelta) else value


@dataclass(frozen=True, slots=True)
class MetricsAddress:
    """Where a process answers, or the first one of a fleet."""

    port: int
    host: str

    @classmethod
    def given(cls, port: int | None, host: str) -> MetricsAddress | None:
        """The address of the options; None where no port is given."""
        return None if port is None else cls(port, host)

    def options_of(self, number: int) -> tuple[str, str]:
        """The option of the process of this number in the fleet."""
        return "--metrics-port", str(self.port + number)

    def serve(self, source: SampleSource, health: Health | None = None) -> MetricsServer:
        """Make the server of a process there, which answers in its `with` block. Raises as `check_free`."""
        from ...producers.metrics.server import MetricsServer

        return MetricsServer([source], self.port, self.host, health=health)

    def check_free(self, count: int) -> None:
        """Open and close so many ports, from the first one on.

        Raises:
            MetricsPortTaken: one cannot be listened on.
        """
        from ...producers.metrics.server import MetricsServer

        for number in range(count):
            MetricsServer([], self.port + number, self.host).close()


def metrics_options(command: Command) -> Command:
    """Add the port and the host."""
    command = click.option(
        "--metrics-host", metavar="HOST", default=LOOPBACK, show_default=True, help="Where --metrics-port listens."
    )(command)
    return click.option(
        "--metrics-port",
        "metrics_number",
        type=click.IntRange(1, LAST_PORT),
        metavar="PORT",
        help="Answer /metrics, /live and /ready over HTTP at this port.",
    )(command)


class TableOptions:
    """How commands name a database and their table in it: adds `--url` and `--table` to a command.

    Args:
        kind: `inbox` or `outbox`.
    """

    def __init__(self, kind: str) -> None:
        self._kind, self._variables = kind, f"STOKER_{kind.upper()}"

    def __call__(self, command: Command) -> Command:
        """Add both."""
        command = click.option(
            "--table",
            envvar=f"{self._variables}_TABLE",
            default=f"stoker_{self._kind}",
            show_default=True,
            help="`table` or `schema.table`.",
        )(command)
        return click.option(
            "--url",
            envvar=f"{self._variables}_URL",
            help="The database: postgresql://user@host/name or sqlite:///path. It may hold a password, so it is better "
            "kept in the environment, and it is never printed.",
        )(command)

    def given(self, url: str | None) -> str:
        """The URL, or a usage error that none is given."""
        if not url:
            raise click.UsageError(f"Name the database: --url postgresql://… or sqlite:///…, or {self._variables}_URL.")
        return url


def ddl_options(command: Command) -> Command:
    """Add `--print` and `--dialect`, for those who create tables by their own migrations."""
    command = click.option(
        "--dialect", type=click.Choice(DIALECTS), help="Of --print; without it that of --url, else postgresql."
    )(command)
    return click.option(
        "--print", "print_only", is_flag=True, help="Print the statements, for migrations, and do nothing."
    )(command)


def dialect_given(dialect: str | None, url: str | None) -> Dialect:
    """The dialect of `--print`."""
    from ...databases.url import dialect_of

    if dialect is None:
        return dialect_of(url) if url else "postgresql"
    return "sqlite" if dialect == "sqlite" else "postgresql"


def with_options(command: Command, options: Sequence[Option]) -> Command:
    """Add options, to be shown in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def with_all(*options: Option) -> Callable[[Command], Command]:
    """Add all options, as a decorator."""
    return lambda command: with_options(command, options)
