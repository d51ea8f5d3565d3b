"""`stoker doctor`: checks from outside the guarantees that a cluster can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.exit_codes import ExitCode
from ..cli.output import echo_line, print_json, styled
from ..cli.parameters import Duration

if TYPE_CHECKING:
    from ..doctor.findings import Finding

MARKS: Final = {"kept": ("✓", "green"), "at risk": ("!", "yellow"), "broken": ("✗", "red"), "unknown": ("?", "cyan")}
"""{verdict: (its mark, its colour)}."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--problems", is_flag=True, help="Leave out what is kept.")
@click.option(
    "--timeout",
    type=Duration(),
    default="5s",
    show_default=True,
    help="How long to wait for each answer of the cluster.",
)
@click.option(
    "--outbox-url",
    envvar="STOKER_OUTBOX_URL",
    help="Look at the outbox in this database as well: postgresql://user@host/name or sqlite:///path.",
)
@click.option(
    "--outbox-table",
    envvar="STOKER_OUTBOX_TABLE",
    default="stoker_outbox",
    show_default=True,
    help="The outbox's table in that database.",
)
@pass_app
@click.pass_context
def doctor(
    ctx: click.Context,
    app: AppContext,
    *,
    as_json: bool,
    problems: bool,
    timeout: timedelta,
    outbox_url: str | None,
    outbox_table: str,
) -> None:
    """Check from outside the guarantees that a cluster can show, and show how to fix those that are broken.

    These are P1 to P6, P8 to P10 and P13; if an outbox is named, P16 as well.

    Looks at the cluster, its schemas, each queue's topics, progress, workers and dead letters, and at an outbox if one
    is named; changes nothing.

    \b
      ✓ kept      all is well
      ! at risk   it holds, but one mishap from outside would break it
      ✗ broken    it does not hold; the line below has the fix
      ? unknown   it could not be found out

    \b
    Examples:
      stoker -A shop.jobs:pipeline doctor
      stoker -A shop.jobs:pipeline doctor --problems
      stoker -A shop.jobs:pipeline doctor --json | jq '.findings[] | select(.verdict == "broken")'

    Exit codes: 0 when nothing is broken; 1 when something is, or may not be looked at; 3 when Kafka cannot be reached.
    """
    from ..doctor.checks import examine, is_barred, is_unreachable
    from ..doctor.findings import Verdict

    findings = examine(app.pipeline, app.cluster, timeout_s=timeout.total_seconds())
    if outbox_url:
        from ..doctor.outbox_checks import examine_outbox

        findings += examine_outbox(outbox_url, outbox_table)
    shown = [finding for finding in findings if not problems or finding.verdict is not Verdict.KEPT]
    counts = Counter(finding.verdict.value for finding in findings)
    if as_json:
        print_json({"counts": {verdict: counts[verdict] for verdict in MARKS}, "findings": shown})
    else:
        _print(shown, counts)
    if is_unreachable(findings):
        ctx.exit(ExitCode.UNREACHABLE)
    ctx.exit(ExitCode.FINDING if counts[Verdict.BROKEN.value] or is_barred(findings) else ExitCode.OK)


def _title(place: str) -> str:
    return place if place == "cluster" or place.startswith("outbox ") else f"queue {place}"


def _print(findings: Sequence[Finding], counts: Counter[str]) -> None:
    for place, there in groupby(findings, lambda finding: finding.place):
        echo_line(styled(_title(place), bold=True))
        for fix, alike in groupby(there, lambda finding: finding.fix):
            for finding in alike:
                mark, colour = MARKS[finding.verdict.value]
                echo_line("  ", styled(mark, fg=colour), f" {finding.guarantee:<3} {finding.observed}")
            if fix:
                echo_line(f"        → {fix}")
    echo_line()
    echo_line(" · ".join(f"{counts[verdict]} {verdict}" for verdict in MARKS))
