"""Turn expected failures into one paragraph on stderr and a documented exit code; only surprises show a traceback."""

from __future__ import annotations

import traceback
from typing import IO, Any, Final

import click

from ..views.terminal_text import printable_lines
from .exit_codes import ExitCode
from .output import Styled, echo_line, echo_lines, styled


class CommandFailure(click.ClickException):
    """An expected end of a command that is not success."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FINDING, *, details: str = "") -> None:
        super().__init__(message)
        self.code, self.details = code, details

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click declares a class variable, and reads it from the instance
        """The code with which click ends the process."""
        return self.code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the paragraph, after the traceback when one was asked for."""
        if self.details:
            echo_lines(self.details, err=True)
        echo_line(styled("Error: ", fg="red", bold=True), Styled(printable_lines(self.format_message())), err=True)


def as_failure(error: BaseException, *, verbose: bool) -> CommandFailure | None:
    """The failure to show for an error; None for a surprise, which deserves its traceback."""
    code = _own_code(error) or _kafka_code(error)
    if code is None:
        return None
    details = "".join(traceback.format_exception(error)) if verbose else ""
    return CommandFailure(_message(error), code, details=details)


EXPECTED: Final = {
    "stoker.databases.errors.DatabaseDriverMissing": ExitCode.USAGE,
    "stoker.databases.errors.DatabaseUrlInvalid": ExitCode.USAGE,
    "stoker.databases.errors.InvalidTableName": ExitCode.USAGE,
    "stoker.operations.application.ApplicationError": ExitCode.USAGE,
    "stoker.operations.statistics.broker_options.NoSuchConnection": ExitCode.USAGE,
    "stoker.operations.payload_input.InputRefused": ExitCode.USAGE,
    "stoker.producers.control.errors.OrderRefused": ExitCode.USAGE,
    "stoker.producers.schedules.errors.ScheduleRefused": ExitCode.USAGE,
    "stoker.producers.errors.CallRefused": ExitCode.USAGE,
    "stoker.producers.errors.SettingRefused": ExitCode.USAGE,
    "stoker.schemas.errors.ContractRefused": ExitCode.USAGE,
    "stoker.schemas.errors.PayloadRefused": ExitCode.USAGE,
    "stoker.schemas.errors.RegistryMissing": ExitCode.USAGE,
    "stoker.schemas.errors.RegistrySettingRefused": ExitCode.USAGE,
    "stoker.topology.cluster.clients.ClientOptionRefused": ExitCode.USAGE,
    "stoker.topology.declaration.job_type.InvalidDeclaration": ExitCode.USAGE,
    "stoker.topology.declaration.pipeline.UnknownName": ExitCode.USAGE,
    "stoker.topology.declaration.timing.InvalidTiming": ExitCode.USAGE,
    "stoker.operations.broker.errors.BrokerError": ExitCode.UNREACHABLE,
    "stoker.databases.errors.DatabaseUnreachable": ExitCode.UNREACHABLE,
    "stoker.producers.control.errors.OrderUnconfirmed": ExitCode.UNREACHABLE,
    "stoker.producers.schedules.errors.ScheduleUnconfirmed": ExitCode.UNREACHABLE,
    "stoker.producers.errors.BrokerUnreachable": ExitCode.UNREACHABLE,
    "stoker.producers.errors.RegistryUnreachable": ExitCode.UNREACHABLE,
    "stoker.schemas.errors.SchemaStoreForbidden": ExitCode.FINDING,
    "stoker.schemas.errors.SchemaStoreUnreachable": ExitCode.UNREACHABLE,
    "stoker.topology.cluster.settings.ClusterUnreachable": ExitCode.UNREACHABLE,
    "stoker.topology.cluster.settings.NoCluster": ExitCode.UNREACHABLE,
    "stoker.topology.planning.apply.TopologyRefused": ExitCode.REFUSED,
    "stoker.topology.planning.contracts.ContractsRefused": ExitCode.REFUSED,
    "stoker.producers.metrics.errors.MetricsError": ExitCode.FINDING,
    "stoker.consumers.errors.WorkerCrashed": ExitCode.FINDING,
    "stoker.databases.errors.DatabaseError": ExitCode.FINDING,
    "stoker.operations.job_index.database.IndexAbsent": ExitCode.FINDING,
    "stoker.operations.job_index.database.IndexBusy": ExitCode.FINDING,
    "stoker.operations.job_index.event_tail.EventsMissing": ExitCode.FINDING,
    "stoker.operations.stored_jobs.errors.StoredJobsError": ExitCode.FINDING,
    "stoker.producers.control.errors.ControlError": ExitCode.FINDING,
    "stoker.producers.schedules.errors.ScheduleError": ExitCode.FINDING,
    "stoker.producers.errors.EnqueueError": ExitCode.FINDING,
    "stoker.schemas.errors.SchemaError": ExitCode.FINDING,
    "stoker.topology.planning.apply.ApplyFailed": ExitCode.FINDING,
    "stoker.topology.cluster.settings.NotAuthorized": ExitCode.FINDING,
    "stoker.topology.planning.verify.TopologyMismatch": ExitCode.FINDING,
}
"""{class: exit code}, a class standing for its subclasses too, the nearest one for each. By name, because importing
them all would cost a failed command more time than its work, and an error that was raised is imported anyway."""


def _own_code(error: BaseException) -> ExitCode | None:
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    return next((EXPECTED[name] for name in names if name in EXPECTED), None)


def _kafka_code(error: BaseException) -> ExitCode | None:
    """The code for an error of the client itself, which one of our own did not take over."""
    from confluent_kafka import KafkaError, KafkaException

    from ...topology.cluster.admin_connection import UNREACHABLE_CODES

    if not isinstance(error, KafkaException):
        return None
    if _kafka_answer(error) == KafkaError._INVALID_ARG:  # an option that librdkafka does not know, or a wrong value
        return ExitCode.USAGE
    return ExitCode.UNREACHABLE if _kafka_answer(error) in UNREACHABLE_CODES else ExitCode.FINDING


def _kafka_answer(error: BaseException) -> int | None:
    answer = error.args[0] if error.args else None
    return getattr(answer, "code", lambda: None)()


def _message(error: BaseException) -> str:
    from confluent_kafka import KafkaError, KafkaException

    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        if error.args[0].code() == KafkaError._INVALID_ARG:
            return f"{error.args[0].str()}; see --option, STOKER_OPTION and the STOKER_KAFKA_* variables"
        return f"Kafka answered {error.args[0].name()}: {error.args[0].str()}"
    return str(error)
