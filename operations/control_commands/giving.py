"""Giving an order at the terminal: the options of all orders, the wait for the answers, and what is printed of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from ..cli.app import AppContext, command_path
from ..cli.exit_codes import ExitCode
from ..cli.failures import CommandFailure
from ..cli.output import echo_line, print_json_line
from ..cli.parameters import Duration, FromNow, Option, Options, instant_of
from ..control.orders_shown import described, order_document

if TYPE_CHECKING:
    from ...producers.control import Answer, Answers, Control, OrderReceipt

NOTHING_LIFTED: Final = "no such order stands, so this one lifts nothing: `stoker control list` shows those that do"

UNAUDITED_NOTE: Final = (
    "given without an audit record: `stoker audit-log` shows it as long as it stands, so keep this output if it matters"
)


GIVING: Final = (
    click.option("--reason", default="", metavar="TEXT", help="Why, for those who find it later."),
    click.option(
        "--operator",
        envvar="STOKER_OPERATOR",
        metavar="NAME",
        help="Who orders.  [default: the user that runs this command]",
    ),
    click.option(
        "--without-audit",
        is_flag=True,
        help="Give it although the audit topic cannot be written to; the order itself still has who and why.",
    ),
    click.option("--wait", is_flag=True, help="Wait until all living workers have taken the order."),
    click.option(
        "--timeout", type=Duration(), default="10s", show_default=True, help="How long --wait waits at the most."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout."),
)


def until_option(default: str) -> Option:
    """The option for when an order is over."""
    return click.option(
        "--until",
        type=FromNow(),
        callback=lambda _context, _option, value: instant_of(value),
        help=f"When it is over: 2h, or an instant (RFC 3339).  [default: {default}]",
    )


UNTIL: Final = until_option("until it is lifted")
TARGETS: Final = (
    click.option("--queue", metavar="QUEUE", help="All jobs of this queue."),
    click.option("--type", "job_type", metavar="NAME", help="All jobs of this type."),
    click.option("--key", metavar="KEY", help="With --queue: its jobs with this ordering key."),
    click.option("--tenant", metavar="NAME", help="All jobs of this tenant."),
    click.option("--partition", type=click.IntRange(0), metavar="N", help="With --queue: its jobs in this partition."),
)


BLOCKED: Final = (
    click.option("--type", "job_type", metavar="NAME", help="All jobs of this type."),
    click.option("--tenant", metavar="NAME", help="All jobs of this tenant."),
    click.option("--queue", metavar="QUEUE", help="With --key."),
    click.option("--key", metavar="KEY", help="With --queue: its jobs with this ordering key."),
)
DISCARD: Final = click.option(
    "--discard", is_flag=True, help="Let the jobs end as cancelled, and not wait; also those that run."
)
BREAKERS: Final = (
    click.option("--type", "job_type", metavar="NAME", help="The breaker of this job type."),
    click.option("--dependency", metavar="NAME", help="The breaker of this dependency."),
)
LIMIT_NAME: Final = click.argument("name", metavar="LIMIT")
CHANGES: Final = (
    click.option("--count", type=click.IntRange(1), metavar="N", help="So many begin in each window, or run at once."),
    click.option("--per", type=Duration(), help="The length of the window."),
    click.option("--burst", type=click.IntRange(1), metavar="N", help="So many may begin at once, of a token bucket."),
    click.option("--lift", is_flag=True, help="Hold nothing back."),
)
WORKERS: Final = (
    click.option("--worker", metavar="ID", help="This worker, as `stoker workers` shows it."),
    click.option("--host", metavar="NAME", help="All workers of this host."),
    click.option("--all", "everyone", is_flag=True, help="All workers."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Giving:
    """How an order is given, by the options of the command."""

    reason: str
    operator: str | None
    without_audit: bool
    wait: bool
    timeout: timedelta
    as_json: bool


def giving_of(options: Options) -> Giving:
    """Take the options of `GIVING` out of those of the command."""
    return Giving(
        **{name: options.pop(name) for name in ("reason", "operator", "without_audit", "wait", "timeout", "as_json")}
    )


def without_reason(giving: Giving) -> Giving:
    """The options of an order for a dry run, which needs no reason."""
    return replace(giving, reason=giving.reason or "none, for a dry run")


def control_of(app: AppContext, giving: Giving) -> Control:
    """Connect the sender of a command's orders."""
    from ...producers.control import Control

    return Control(
        app.pipeline,
        app.cluster,
        operator=giving.operator,
        command=command_path(),
        is_audited=not giving.without_audit,
    )


def give(app: AppContext, giving: Giving, order: Callable[[Control], OrderReceipt]) -> OrderReceipt:
    """Give an order, wait for the answers where that was asked for, and print how it went.

    Raises:
        CommandFailure: a living worker has not taken the order in time.
    """
    with control_of(app, giving) as control:
        receipt = order(control)
    if giving.without_audit:
        echo_line(UNAUDITED_NOTE, err=True)
    answers = receipt.wait(giving.timeout) if giving.wait else None
    if giving.as_json:
        print_json_line(receipt_document(receipt, answers))
    else:
        _print_receipt(receipt, answers)
    if answers is not None and answers.missing:
        raise CommandFailure(_missing(receipt, answers, giving.timeout), ExitCode.FINDING)
    return receipt


def lift(app: AppContext, giving: Giving, order: Callable[[Control], OrderReceipt]) -> None:
    """Give an order that lifts another one, as `give` does; print a hint where there is none to lift."""
    from ...producers.control.standing import read_standing_orders
    from ...topology.wire.orders import order_key

    standing = {order_key(found) for found in read_standing_orders(app.pipeline, app.cluster, with_jobs=False)}

    def noted(control: Control) -> OrderReceipt:
        receipt = order(control)
        if order_key(receipt.order) not in standing:
            echo_line(NOTHING_LIFTED, err=True)
        return receipt

    give(app, giving, noted)


def _print_receipt(receipt: OrderReceipt, answers: Answers | None) -> None:
    echo_line(f"ordered: {described(receipt.order, receipt.count)} (order {receipt.order_id})")
    if answers is None:
        echo_line("workers take it within a second; `--wait` waits for their answers, `stoker control log` shows them")
    elif not answers.answers:
        echo_line("no worker runs; those that start take it before their first job")
    elif not answers.missing:
        count = len(answers.answers)
        echo_line("taken by the one worker that runs" if count == 1 else f"taken by all {count} workers")


def _missing(receipt: OrderReceipt, answers: Answers, timeout: timedelta) -> str:
    ordered = described(receipt.order, receipt.count)
    listed = "".join(f"\n  - {_excuse(answer)}" for answer in answers.missing)
    return (
        f"{len(answers.missing)} of {len(answers.answers)} workers have not taken the order to {ordered} "
        f"within {timeout.total_seconds():g} s:{listed}\n"
        "The order stands: each takes it when it goes on. `stoker workers` shows whether they do."
    )


def _excuse(answer: Answer) -> str:
    if not answer.is_understood:
        return f"{answer.worker} does not understand it: its Stoker is older, so start it with a newer one"
    return f"{answer.worker} on {answer.host} has been silent for {answer.silent_s:.0f} s"


def receipt_document(receipt: OrderReceipt, answers: Answers | None) -> dict[str, object]:
    """An order that was given, for `--json`."""
    return {
        **order_document(receipt.order, receipt.count),
        "offset": receipt.offset,
        "taken_by_all": None if answers is None else answers.is_taken_by_all,
        "answers": None if answers is None else [_answer_document(answer) for answer in answers.answers],
    }


def _answer_document(answer: Answer) -> dict[str, object]:
    return {
        "worker": answer.worker,
        "host": answer.host,
        "taken": answer.is_taken,
        "understood": answer.is_understood,
        "silent_s": round(answer.silent_s, 3),
        "state": answer.state,
    }
