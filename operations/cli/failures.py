"""Turn expected failures into one paragraph on stderr and a documented exit code; only surprises show a traceback."""

from __future__ import annotations

import traceback
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
    code = _kafka_code(error) or next((code for code, kinds in _expected() if isinstance(error, kinds)), None)
    if code is None:
        return None
    details = "".join(traceback.format_exception(error)) if verbose else ""
    return Failure(_message(error), code, details=details)


def _expected() -> list[tuple[ExitCode, tuple[type[BaseException], ...]]]:
    """What each exit code stands for, the nearer kinds before their parents. Imported only once something failed."""
    from ...consumers.queue_worker import WorkerCrashed
    from ...producers.errors import BrokerUnreachable, CallRefused, EnqueueError, SettingRefused
    from ...schemas import ContractRefused, PayloadRefused, SchemaError, SchemaStoreUnreachable
    from ...topology import InvalidDeclaration, NoCluster, UnknownName
    from ...topology.apply import ApplyFailed, TopologyRefused
    from ...topology.cluster import ClusterUnreachable, NotAuthorized
    from ...topology.verify import TopologyMismatch
    from ..application import ApplicationError
    from ..broker_errors import BrokerError
    from ..desk_errors import DeskError
    from ..payload_input import InputRefused

    application = (ApplicationError, InvalidDeclaration, ContractRefused, UnknownName)
    given = (InputRefused, PayloadRefused, CallRefused, SettingRefused)
    nobody_there = (NoCluster, ClusterUnreachable, BrokerUnreachable, SchemaStoreUnreachable, BrokerError)
    of_cluster = (TopologyMismatch, ApplyFailed, NotAuthorized)
    found = (*of_cluster, EnqueueError, SchemaError, DeskError, WorkerCrashed)
    return [
        (ExitCode.USAGE, application + given),
        (ExitCode.UNREACHABLE, nobody_there),
        (ExitCode.REFUSED, (TopologyRefused,)),
        (ExitCode.FINDING, found),
    ]


def _kafka_code(error: BaseException) -> ExitCode | None:
    """The code for an error of the client itself, which one of our own did not take over."""
    from confluent_kafka import KafkaException

    from ..cluster_view import UNREACHABLE_CODES

    if not isinstance(error, KafkaException):
        return None
    return ExitCode.UNREACHABLE if _kafka_answer(error) in UNREACHABLE_CODES else ExitCode.FINDING


def _kafka_answer(error: BaseException) -> int | None:
    answer = error.args[0] if error.args else None
    return getattr(answer, "code", lambda: None)()


def _message(error: BaseException) -> str:
    from confluent_kafka import KafkaError, KafkaException

    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return f"Kafka answered {error.args[0].name()}: {error.args[0].str()}"
    return str(error)
