"""Turn expected failures into one paragraph on stderr and a documented exit code; only surprises show a traceback."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import IO, Any

import click

from .exit_codes import ExitCode


class Failure(click.ClickException):
    """An expected end of a command that is not success."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FINDING, *, details: str = "") -> None:
        super().__init__(message)
        self.code, self.details = code, details

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click declares a class variable, and reads it from the instance
        """What click ends the process with."""
        return self.code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the paragraph, after the traceback when one was asked for."""
        if self.details:
            click.echo(self.details, file=file, err=True)
        click.secho("Error: ", fg="red", bold=True, nl=False, file=file, err=True)
        click.echo(self.format_message(), file=file, err=True)


def as_failure(error: BaseException, *, verbose: bool) -> Failure | None:
    """The failure to show for an error; None for a surprise, which deserves its traceback."""
    for code_of in _CLASSIFIERS:
        code = code_of(error)
        if code is not None:
            details = "".join(traceback.format_exception(error)) if verbose else ""
            return Failure(_message(error), code, details=details)
    return None


def _message(error: BaseException) -> str:
    from confluent_kafka import KafkaError, KafkaException

    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return f"Kafka answered {error.args[0].name()}: {error.args[0].str()}"
    return str(error)


def _declaration_code(error: BaseException) -> ExitCode | None:
    from ...schemas import PayloadRefused
    from ...topology import InvalidDeclaration, UnknownName
    from ..application import ApplicationError

    wrong_input = (ApplicationError, InvalidDeclaration, UnknownName, PayloadRefused)
    return ExitCode.USAGE if isinstance(error, wrong_input) else None


def _cluster_code(error: BaseException) -> ExitCode | None:
    from ...topology import NoCluster
    from ..broker_errors import BrokerError

    return ExitCode.UNREACHABLE if isinstance(error, NoCluster | BrokerError) else None


def _kafka_code(error: BaseException) -> ExitCode | None:
    from confluent_kafka import KafkaError, KafkaException

    if not isinstance(error, KafkaException):
        return None
    answer = error.args[0] if error.args else None
    unreachable = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE}
    is_unreachable = isinstance(answer, KafkaError) and answer.code() in unreachable
    return ExitCode.UNREACHABLE if is_unreachable else ExitCode.FINDING


_CLASSIFIERS: tuple[Callable[[BaseException], ExitCode | None], ...] = (
    _declaration_code,
    _cluster_code,
    _kafka_code,
)
