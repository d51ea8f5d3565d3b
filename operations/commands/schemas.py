"""`stoker schemas`: the contracts as files, and their comparison with the code and the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.exit_codes import ExitCode
from ..cli.output import echo_line, print_json, styled

if TYPE_CHECKING:
    from ...schemas import SchemaFinding

FOLDER: Final = "contracts"
MODES: Final = (
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
    "NONE",
)


@click.group()
def schemas() -> None:
    """Export and check the contracts of the jobs.

    A job type's contract is the Avro schema of its payload, derived from its function or given as a file. Commit the
    exported files, so that a change of contract is seen in review, and check them before a deployment.
    """


@schemas.command()
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    show_default=True,
    help="The folder to write to; it is made if need be.",
)
@pass_app
def export(app: AppContext, *, folder: Path) -> None:
    """Write each contract as JOB_TYPE.avsc. No cluster is needed.

    The same contract gives the same bytes, so that a file changes only when its contract does.

    \b
    Example:
      stoker -A shop.jobs:pipeline schemas export --to contracts

    Exit codes: 0; 2 when the application cannot be loaded.
    """
    from ...schemas import export as write

    for path in write((job_type.contract for job_type in app.pipeline.job_types.values()), folder):
        echo_line(str(path))


@schemas.command()
@click.option(
    "--against",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    show_default=True,
    help="The folder of the committed files.",
)
@click.option(
    "--mode",
    type=click.Choice(MODES, case_sensitive=False),
    help="The rule that changes must keep. Default: the one that each job type declares.",
)
@click.option("--offline", is_flag=True, help="Compare with the files only; no cluster is needed.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@pass_app
@click.pass_context
def check(ctx: click.Context, app: AppContext, *, folder: Path, mode: str | None, offline: bool, as_json: bool) -> None:
    """Compare the code's contracts with the committed files and with what the cluster holds.

    Under BACKWARD, the new contract must read what the last version wrote (workers are deployed first); under FORWARD,
    the last version must read what the new contract writes (producers first); FULL is both. The _TRANSITIVE forms look
    at all earlier versions. Each finding names the rule and the field that breaks it; a file that differs from the
    code is a finding as well. A Schema Registry is asked for its own rule, too.

    \b
    Examples:
      stoker -A shop.jobs:pipeline schemas check
      stoker -A shop.jobs:pipeline schemas check --offline --mode FULL

    Exit codes: 0 when all agree; 1 when something differs or breaks a rule; 3 when Kafka or the Schema Registry cannot
    be reached. With --json, one document: {"job_types", "is_offline", "findings": [{"job_type", "against": "files" or
    "cluster", "rule", "field", "explanation"}]}.
    """
    from ...schemas import Compatibility
    from ..schema_checks import check_cluster, check_files

    rule = Compatibility(mode.upper()) if mode else None
    findings = check_files(app.pipeline, folder, rule)
    if not offline:
        findings += check_cluster(app.pipeline, app.cluster, rule)
    if as_json:
        print_json({"job_types": list(app.pipeline.job_types), "is_offline": offline, "findings": findings})
    else:
        _print(findings, list(app.pipeline.job_types), offline=offline)
    if any(finding.against == "cluster" for finding in findings):
        app.hint_at_reset()
    ctx.exit(ExitCode.FINDING if findings else ExitCode.OK)


def _print(findings: list[SchemaFinding], job_types: list[str], *, offline: bool) -> None:
    for finding in findings:
        where = f"field {finding.field!r}" if finding.field else "the contract"
        where += "" if finding.rule == "drift" else ":"
        against = "the committed file" if finding.against == "files" else "the cluster"
        echo_line(styled("✗", fg="red"), f" {finding.job_type}: {finding.rule}: {where} {finding.explanation}")
        echo_line(f"    compared with {against}")
    sound = [name for name in job_types if name not in {finding.job_type for finding in findings}]
    compared = "the committed files" if offline else "the committed files and the cluster"
    for name in sound:
        echo_line(styled("✓", fg="green"), f" {name}: agrees with {compared}")
