"""`stoker enqueue`: publish one job, or one for each line of input."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING

import click

from ...topology.counts import counted, counted_doing
from ..cli.app import AppContext, pass_app
from ..cli.exit_codes import ExitCode
from ..cli.failures import CommandFailure
from ..cli.output import echo_line, print_json
from ..cli.parameters import Duration, FromNow, instant_of

if TYPE_CHECKING:
    from ...topology.declaration.job_type import AnyJobType, CallOptions


def _parse_headers(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given]
    if not all(name and equals for name, equals, _ in pairs):
        raise click.BadParameter("write it as name=value")
    return {name: value for name, _, value in pairs}


@click.command()
@click.argument("job_type", metavar="JOB_TYPE")
@click.argument("pairs", metavar="[FIELD=VALUE]...", nargs=-1)
@click.option("--data", metavar="JSON", help="The payload as JSON, instead of FIELD=VALUE pairs.")
@click.option("--data-file", type=click.File(encoding="utf-8"), help="The payload from a file; - is stdin.")
@click.option(
    "--lines", is_flag=True, help="Publish a job for each line of --data-file (stdin without it), each a JSON payload."
)
@click.option("--key", help="Ordering key: jobs of one key run one at a time, in their order.")
@click.option("--tenant", help="For whom the job is.")
@click.option("--priority", metavar="NAME", help="One of the queue's priorities; the job type's own, unless given.")
@click.option("--id", "job_id", help="Job id; made up when not given. The same id runs once.")
@click.option("--idempotency-key", help="Jobs with an equal one run once, whatever their ids.")
@click.option("--delay", type=Duration(), help="Start the job only when so long has passed: 90s, 2h, 10d.")
@click.option(
    "--at",
    type=FromNow(),
    callback=lambda _context, _option, value: instant_of(value),
    help="Start the job only then: at an instant (2026-03-01T08:00Z), or in 2h.",
)
@click.option("--expires", type=FromNow(), help="Drop the job when it has not started by then: 2h, or an instant.")
@click.option("--source", help="Who publishes, for the record (ce_source).", default="/stoker/cli", show_default=True)
@click.option(
    "--header", "headers", multiple=True, metavar="NAME=VALUE", callback=_parse_headers, help="A header; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
@pass_app
def enqueue(
    app: AppContext,
    *,
    job_type: str,
    pairs: tuple[str, ...],
    data: str | None,
    data_file: IO[str] | None,
    lines: bool,
    key: str | None,
    tenant: str | None,
    priority: str | None,
    job_id: str | None,
    idempotency_key: str | None,
    delay: timedelta | None,
    at: datetime | None,
    expires: datetime | timedelta | None,
    source: str,
    headers: dict[str, str],
    as_json: bool,
) -> None:
    """Publish one job of JOB_TYPE, or one for each line of input, and wait until the brokers confirmed it.

    The payload is FIELD=VALUE pairs, --data or --data-file. Values of text fields, moments, decimals and UUIDs are
    taken as they are, all others are read as JSON. Everything is checked against the job's contract first: what does
    not fit is refused with its field named, and nothing is sent.

    With --lines, lines that do not fit are named on stderr and left out, the rest is published.

    \b
    Examples:
      stoker -A shop.jobs:pipeline enqueue send_receipt order_id=42 --key customer-7
      stoker -A shop.jobs:pipeline enqueue send_receipt --data '{"order_id": 42}' --expires 2h
      stoker -A shop.jobs:pipeline enqueue send_receipt order_id=42 --delay 1h30m
      stoker -A shop.jobs:pipeline enqueue send_receipt --lines < orders.jsonl

    Exit codes: 1 when a job was not confirmed, or a line was refused; 2 when the payload or the job type is wrong; 3
    when Kafka cannot be reached.
    """
    from ...topology.declaration.job_type import CallOptions

    if delay is not None:
        _refuse_mix("--delay", {"--at": at})
    options = CallOptions(
        key=key,
        tenant=tenant,
        priority=priority,
        job_id=job_id,
        idempotency_key=idempotency_key,
        delay=delay,
        at=at,
        expires=expires,
        source=source,
        headers=headers,
    )
    found = app.pipeline.find_job_type(job_type)
    if lines:
        _refuse_mix("--lines", {"FIELD=VALUE": pairs, "--data": data, "--id": job_id})
        return _publish_lines(app, found, data_file or sys.stdin, options, as_json=as_json)
    payload = _payload(found, pairs, data, data_file)
    return _publish_one(app, found, payload, options, as_json=as_json)


def _refuse_mix(option: str, others: dict[str, object]) -> None:
    given = [name for name, value in others.items() if value]
    if given:
        raise click.UsageError(f"{option} and {' and '.join(given)} exclude each other: give one of them")


def _payload(job_type: AnyJobType, pairs: tuple[str, ...], data: str | None, data_file: IO[str] | None) -> object:
    from ..payload_input import parse_json, payload_from_pairs

    if data is not None:
        _refuse_mix("--data", {"FIELD=VALUE": pairs, "--data-file": data_file})
        return parse_json(data, "--data")
    if data_file is not None:
        _refuse_mix("--data-file", {"FIELD=VALUE": pairs})
        return parse_json(data_file.read(), data_file.name)
    return payload_from_pairs(job_type.contract, pairs)


def _publish_one(
    app: AppContext, job_type: AnyJobType, payload: object, options: CallOptions, *, as_json: bool
) -> None:
    from ...producers import Producer
    from ..payload_input import call_from_json

    call = call_from_json(job_type, payload, options)
    with Producer(app.pipeline, app.cluster) as producer:
        receipt = producer.send(call)
    if as_json:
        print_json(receipt)
    else:
        place = f"{receipt.topic}/{receipt.partition}/{receipt.offset}"
        due = "" if receipt.due_at is None else f", due {receipt.due_at.isoformat(timespec='seconds')}"
        echo_line(f"{receipt.job_id}  {job_type.name} is at {place}{due}")


def _publish_lines(
    app: AppContext, job_type: AnyJobType, lines: IO[str], options: CallOptions, *, as_json: bool
) -> None:
    from ...producers import Producer
    from ..payload_input import calls_from_lines

    refused: list[int] = []

    def refuse(number: int, why: Exception) -> None:
        refused.append(number)
        echo_line(f"line {number}: {why}", err=True)

    with Producer(app.pipeline, app.cluster) as producer:
        result = producer.enqueue_many(calls_from_lines(job_type, lines, options, refuse))
    if as_json:
        print_json({**asdict(result), "refused_lines": refused})
    else:
        echo_line(f"{counted_doing(result.confirmed, f'{job_type.name} job', 'were')} published and confirmed")
    if refused:
        raise CommandFailure(
            f"{counted(len(refused), 'line')} refused and left out; correct the lines that are named, and send only "
            "these",
            ExitCode.FINDING,
        )
