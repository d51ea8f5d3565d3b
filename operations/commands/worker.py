"""`stoker worker`: run jobs, in this process or in a supervised fleet of them."""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.exit_codes import ExitCode
from ..cli.logs import log_to_stderr
from ..cli.output import echo_lines
from ..cli.parameters import Command, Duration, MetricsAddress, metrics_options
from ..cli.process_end import end_soon
from ..cli.variables import warn_of_misspelt
from .fleet import RELAYED, SUPERVISED, run_fleet, stop_with_parent

if TYPE_CHECKING:
    from click.types import OptionHelpExtra

    from ...consumers.settings import WorkerSettings

_LOGGER = logging.getLogger("stoker.cli")

LOG_FORMATS: Final = ("auto", "json", "text")


_COUNT: Final = click.IntRange(min=1)
_DURATION: Final = Duration()
SETTINGS: Final[dict[str, tuple[click.ParamType, str]]] = {
    "concurrency": (_COUNT, "Threads for sync jobs, for each queue."),
    "async_concurrency": (_COUNT, "Async jobs that run at once, for each queue."),
    "isolated_concurrency": (_COUNT, "Child processes for isolated jobs, for each queue that has them."),
    "recycle_after_jobs": (_COUNT, "Replace a child that has run so many jobs."),
    "recycle_above_bytes": (_COUNT, "Replace a child that holds more memory after a job."),
    "max_in_flight": (_COUNT, "Jobs taken and not yet settled, those that wait left out, for each queue."),
    "max_in_flight_bytes": (_COUNT, "Bytes of these jobs and of those that wait, for each queue."),
    "grace": (_DURATION, "How long running jobs may take to end at a shutdown."),
    "revoke_grace": (_DURATION, "The same when a partition moves away."),
    "commit_interval": (_DURATION, "How often offsets are committed."),
    "release": (click.STRING, "What these workers run, such as a commit, for the events of their jobs."),
    "done_events": (click.BOOL, "Whether jobs that are done have events, for status and statistics."),
}
"""{field: (type of its option, help)}, in the order of the help."""
_COMPUTED: Final = {"isolated_concurrency": "one for each processor"}
"""{field: its default in words}, where the value depends on the machine."""


class SettingOption(click.Option):
    """An option without a default of its own: the help shows that of the field, and looks it up only then."""

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Add the field's default."""
        extra = super().get_help_extra(ctx)
        extra["default"] = default_text(self.name or "")
        return extra


def setting_options(command: Command) -> Command:
    """Add an option for each setting."""
    for name, (kind, about) in reversed(SETTINGS.items()):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, name, cls=SettingOption, type=kind, help=about)(command)
    return command


def default_text(name: str) -> str:
    """The default of a setting, as a person writes it on the command line.

    >>> default_text("concurrency"), default_text("grace"), default_text("recycle_after_jobs")
    ('16', '30s', 'no')
    """
    from ...consumers.settings import WorkerSettings
    from ...topology import format_duration

    if name in _COMPUTED:
        return _COMPUTED[name]
    default = next(field.default for field in fields(WorkerSettings) if field.name == name)
    if isinstance(default, bool):
        return "yes" if default else "no"
    if default is None or default == "":
        return "no"
    return format_duration(default) if isinstance(default, timedelta) else str(default)


@click.command()
@click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="Work on this queue only; repeatable.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Worker processes.")
@setting_options
@click.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    default="auto",
    show_default=True,
    help="auto: text and a live table on a terminal, JSON lines elsewhere.",
)
@click.option(
    "--inspect",
    is_flag=True,
    help="Print every 5 s what each runner, key and partition is doing. SIGUSR1 prints it once.",
)
@metrics_options
@click.option("--otel-metrics", is_flag=True, help="Give the same metrics to the application's OpenTelemetry SDK.")
@click.option(SUPERVISED, is_flag=True, hidden=True, help="For the processes of a fleet.")
@click.option(RELAYED, is_flag=True, hidden=True, help="For the processes of a fleet on a terminal.")
@pass_app
@click.pass_context
def worker(
    ctx: click.Context,
    app: AppContext,
    /,
    *,
    queues: tuple[str, ...],
    processes: int,
    log_format: str,
    inspect: bool,
    metrics_number: int | None,
    metrics_host: str,
    otel_metrics: bool,
    supervised: bool,
    relayed: bool,
    **bounds: int | timedelta | str | bool | None,
) -> None:
    """Run jobs until SIGTERM or Ctrl+C.

    The first signal lets running jobs end, for --grace at the most; a second one stops at once. Neither costs a job an
    attempt. With --processes, a supervisor starts the processes, replaces those that die, and passes signals on.

    With --inspect, or once on SIGUSR1, each runner's job is printed with its stack, and how far each partition is.

    On a terminal a live table shows the rate, jobs in flight and unfinished jobs of each queue; that of a fleet shows
    the lag. Elsewhere the log is one JSON object a line, with job_id in each that is about a job.

    With --metrics-port, http://127.0.0.1:PORT/metrics has metrics for Prometheus, and /live and /ready the health. Each
    process of a fleet has a port of its own: PORT, PORT + 1, and so on.

    \b
    Examples:
      stoker -A shop.jobs:pipeline worker
      stoker -A shop.jobs:pipeline worker --queue mails --concurrency 64
      stoker -A shop.jobs:pipeline worker --processes 4 --grace 2m

    Exit codes: 0 after a shutdown; 1 when the topology does not match the application, a right on the brokers is
    missing or a worker failed; 2 for an unknown queue or a wrong option; 3 when Kafka cannot be reached; 4 when the
    schema store has versions that a contract must not follow.
    """
    if not supervised:  # a fleet's process begins with the signal blocked instead
        _ignore_early_signal()
    on_terminal = sys.stderr.isatty() and log_format != "json"
    log_format = _start_log(app, log_format, on_terminal=on_terminal, relayed=relayed, supervised=supervised)
    if not supervised:
        warn_of_misspelt(ctx.find_root())
    settings = _settings(queues, bounds)
    app.find_queues(queues)  # an unknown one is refused before a broker is started
    at = MetricsAddress.given(metrics_number, metrics_host)
    if processes > 1:
        code = run_fleet(
            app,
            queues,
            processes,
            grace=settings.grace + settings.revoke_grace,  # a stop amid a rebalance waits for both
            log_format=log_format,
            on_terminal=on_terminal,
            metrics=at,
        )
        ctx.exit(code)
    start = _Start(
        log_format=log_format,
        on_terminal=on_terminal,
        supervised=supervised,
        inspect=inspect,
        metrics=at,
        otel_metrics=otel_metrics,
    )
    _run_one(app, settings, start)


def _ignore_early_signal() -> None:
    """Ignore SIGUSR1 until the worker handles it, or it would end the process."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _start_log(app: AppContext, log_format: str, *, on_terminal: bool, relayed: bool, supervised: bool) -> str:
    """Log in this format from now on, and return it; `auto` is text on a terminal and JSON elsewhere."""
    from ..cli.folding import FoldingHandler
    from ..views.logging_json import JsonFormatter
    from ..views.text_log import TIME, TextFormatter

    if log_format == "auto":
        log_format = "text" if on_terminal else "json"
    level = app.log_level or "info"
    if on_terminal or relayed:
        log_to_stderr(level, TextFormatter(TIME), FoldingHandler())
    else:
        log_to_stderr(level, JsonFormatter() if log_format == "json" else None)
    app.note = _LOGGER.debug if supervised else _LOGGER.info
    return log_format


def _settings(queues: tuple[str, ...], bounds: dict[str, int | timedelta | str | bool | None]) -> WorkerSettings:
    from ...consumers.settings import WorkerSettings

    given = {name: value for name, value in bounds.items() if value is not None}
    return WorkerSettings(queues=queues, **given)  # type: ignore[arg-type]  # the options are named and typed as its fields


def _to_stderr(text: str) -> None:
    echo_lines(text, err=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """How one process starts, beside its settings."""

    log_format: str
    on_terminal: bool
    supervised: bool
    inspect: bool
    metrics: MetricsAddress | None
    otel_metrics: bool


def _run_one(app: AppContext, settings: WorkerSettings, start: _Start) -> None:
    from ...consumers.errors import PollThreadHangs
    from ...consumers.machine import give_memory_back
    from ...consumers.metrics.systemd import notifying
    from ...consumers.worker import Worker
    from ..views.inspection_output import INSPECT_EVERY_S, json_printer, text_printer

    give_memory_back()
    worker = Worker(
        app.pipeline,
        app.start_cluster(),
        settings,
        on_inspection=json_printer(_to_stderr) if start.log_format == "json" else text_printer(_to_stderr),
        inspect_every_s=INSPECT_EVERY_S if start.inspect else math.inf,
    )
    with ExitStack() as stack:
        if start.metrics is not None:
            stack.enter_context(worker.serve_metrics(start.metrics.port, start.metrics.host))
        if start.otel_metrics:
            from ...producers.metrics.otel import observe_metrics

            observe_metrics(worker.measure())
        if start.supervised:
            stop_with_parent(worker)
        else:
            stack.enter_context(notifying(worker.health))
        if start.on_terminal and not start.inspect:
            from ..views.live_view import WorkerView, live

            stack.enter_context(live(WorkerView(worker.snapshot, f"worker {settings.worker_id} · Ctrl+C ends")))
        try:
            worker.run()
        except PollThreadHangs:
            end_soon(ExitCode.FINDING)  # whatever else hangs with it, such as the log
            raise
