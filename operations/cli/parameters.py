"""Options, and types of their values, that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import click

if TYPE_CHECKING:
    from ...producers.metrics.health import Health
    from ...producers.metrics.sample import Source
    from ...producers.metrics.server import MetricsServer

Command = TypeVar("Command", bound=Callable[..., None])
LOOPBACK: Final = "127.0.0.1"
LAST_PORT: Final = 65_535


class Duration(click.ParamType):
    """A length of time, written like 500ms, 5s, 10m, 2h, 7d or 1h30m."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or complain with examples."""
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
        """Read it, or complain with examples of both forms."""
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
        """The option of the process at a place of the fleet."""
        return "--metrics-port", str(self.port + number)

    def serve(self, source: Source, health: Health | None = None) -> MetricsServer:
        """Make the server of a process there, which answers in its `with` block. Raises as `check_free`."""
        from ...producers.metrics.server import MetricsServer

        return MetricsServer([source], self.port, self.host, health=health)

    def check_free(self, count: int) -> None:
        """Open and close so many ports, from the first one on.

        Raises:
            PrometheusClientMissing: the extra `metrics` is not installed.
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
