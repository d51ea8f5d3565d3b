"""`stoker scale`: how many workers each queue needs, what bounds its pace, and when its backlog is gone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line, print_json, print_json_line
from ..cli.parameters import Duration, MetricsAddress, Options, metrics_options
from ..cli.process_end import stop_signals

if TYPE_CHECKING:
    from ...topology import Queue
    from ..scaling.load import QueueLoad, ScalingPolicy
    from ..scaling.load_reader import LoadReader
    from ..scaling.rule import Recommendation

LEAST_SAMPLE: Final = timedelta(milliseconds=200)
STALE_S: Final = 60.0
_POLICY: Final = (
    click.option("--target-wait", type=Duration(), help="How long a job may wait.  [default: the queue's slo, or 5s]"),
    click.option(
        "--catch-up", type=Duration(), default="2m", show_default=True, help="In which time a backlog is to be gone."
    ),
    click.option(
        "--min", "minimum", type=click.IntRange(0), default=1, show_default=True, help="Workers at the least; 0: none."
    ),
    click.option("--max", "maximum", type=click.IntRange(1), help="Workers at the most.  [default: the partitions]"),
    click.option(
        "--start", type=Duration(), default="30s", show_default=True, help="How long a new worker takes to run jobs."
    ),
    click.option(
        "--stabilization",
        type=Duration(),
        default="5m",
        show_default=True,
        help="With --watch: want fewer workers only after fewer were enough for so long.",
    ),
)


def _policy_options(command: Any) -> Any:  # a decorator of functions of any kind
    for option in reversed(_POLICY):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class _Showing:
    """How what is found is shown."""

    as_json: bool
    watch: bool


@click.command()
@click.argument("names", metavar="[QUEUE]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch, one line for each look.")
@click.option("--watch", is_flag=True, help="Look again and again until interrupted.")
@click.option(
    "--sample",
    type=Duration(),
    default="5s",
    show_default=True,
    help="How long to measure the rates, and the pause between the looks of --watch.",
)
@_policy_options
@metrics_options
@pass_app
def scale(
    app: AppContext,
    /,
    *,
    names: tuple[str, ...],
    as_json: bool,
    watch: bool,
    sample: timedelta,
    metrics_number: int | None,
    metrics_host: str,
    **policy: Any,  # those of `_POLICY`
) -> None:
    """Show how many workers each QUEUE needs, what bounds its pace, and when its backlog is gone.

    It starts and stops nothing. WANTED is enough for the jobs that come, with a fifth of headroom, and for the backlog
    to be gone within --catch-up; never more than the queue has partitions. Up it goes at once, down by a quarter at the
    most, and not while jobs are late. Where too little is known, WANTED is what there is. The line below a queue has
    the reason. BACKLOG counts jobs without an outcome, those that run included, but no retries and delayed jobs. ETA is
    with the present workers; never: the backlog does not shrink.

    BOUND BY is what to change so that jobs wait for less: runners or cpu (more workers), partitions, limit, key, held
    (a pause or breaker), maximum (--max); nothing: the workers suffice; unknown.

    With --watch it also remembers: fewer workers are wanted only after fewer were enough for --stabilization, and then
    a step each minute. With --metrics-port, http://127.0.0.1:PORT/metrics has stoker_workers_wanted and
    stoker_backlog_eta_seconds for each queue, for KEDA or a HorizontalPodAutoscaler.

    Run `stoker statistics run` as well: then it knows how long jobs run. Without, it estimates that from busy runners.

    \b
    Examples:
      stoker -A shop.jobs:pipeline scale
      stoker -A shop.jobs:pipeline scale mails --target-wait 30s --max 20
      stoker -A shop.jobs:pipeline scale --watch --metrics-port 9410
      stoker -A shop.jobs:pipeline scale --json | jq '.[] | {queue, wanted}'

    Exit codes: 0, also where workers are missing; 2 for an unknown queue; 3 when Kafka cannot be reached.
    """
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ..scaling.load_reader import LoadReader

    at = MetricsAddress.given(metrics_number, metrics_host)
    if at is not None and not watch:
        raise click.UsageError("--metrics-port needs --watch, which keeps the process running")
    if sample < LEAST_SAMPLE:
        raise click.UsageError("--sample must be 200ms or more, since rates are measured over it")
    chosen = app.find_queues(names)
    policies = [_policy_of(queue, policy) for queue in chosen]
    require_rights(Duty.QUEUES, app.pipeline, app.cluster, chosen)
    require_rights(Duty.CONTROL_LIST, app.pipeline, app.cluster)  # a topic that may not be read seems not to exist
    reader = LoadReader(app.pipeline, app.cluster, chosen)
    showing = _Showing(as_json=as_json, watch=watch)
    if watch:
        _watch(reader, policies, sample, at, showing)
    else:
        _show(_once(reader, policies, sample), policies, showing)


def _policy_of(queue: Queue, given: Options) -> ScalingPolicy:
    """The policy of the options, and of what the queue declares."""
    from ..scaling.load import ScalingPolicy, target_wait_of

    wait = target_wait_of(queue) if given["target_wait"] is None else given["target_wait"]
    try:
        return ScalingPolicy(**{**given, "target_wait": wait})
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from wrong


def _once(reader: LoadReader, policies: Sequence[ScalingPolicy], sample: timedelta) -> list[Recommendation]:
    from ..scaling.scaler import recommend_once

    reader.begin()
    time.sleep(sample.total_seconds())
    return [recommend_once(load, policy) for load, policy in zip(reader.read(), policies, strict=True)]


def _watch(
    reader: LoadReader,
    policies: Sequence[ScalingPolicy],
    sample: timedelta,
    at: MetricsAddress | None,
    showing: _Showing,
) -> None:
    """Look until SIGTERM, also over a restart of the brokers; only the first reading must succeed."""
    from ..scaling.scale_health import Watching

    watching = Watching(policies, max(STALE_S, 3 * sample.total_seconds()))
    with ExitStack() as stack:
        if at is not None:
            from ...producers.metrics.sample import SampleSource

            stack.enter_context(at.serve(SampleSource(reader.pipeline.namespace, watching.samples), watching))
        ending = stack.enter_context(stop_signals())
        reader.begin()
        last_error = ""
        while not ending.wait(sample.total_seconds()):
            loads, error = _read(reader)
            if error and error != last_error:
                echo_line(f"{error}; the workers stay as they are, and it looks again", err=True)
            last_error = error
            if loads:
                _show(watching.look(loads), policies, showing)


def _read(reader: LoadReader) -> tuple[list[QueueLoad], str]:
    """The loads, or why they could not be read."""
    from confluent_kafka import KafkaException

    from ...topology.cluster.kafka_errors import Remedy, remedy_of
    from ...topology.cluster.settings import ClusterUnreachable
    from ..stored_jobs.errors import ReadStalled

    try:
        return reader.read(), ""
    except (ClusterUnreachable, ReadStalled) as error:
        return [], str(error)
    except KafkaException as error:
        if remedy_of(error.args[0]) is not Remedy.WAIT:
            raise
        return [], str(error)


def _show(found: Sequence[Recommendation], policies: Sequence[ScalingPolicy], showing: _Showing) -> None:
    from ..scaling.text import scale_document, scale_lines

    if showing.as_json:
        data = [scale_document(one, policy) for one, policy in zip(found, policies, strict=True)]
        return print_json_line(data) if showing.watch else print_json(data)
    if showing.watch:
        click.clear()
        echo_line(f"{datetime.now(UTC):%H:%M:%S} UTC · Ctrl+C ends")
        echo_line()
    for line in scale_lines(found, policies):
        echo_line(line)
    return None
