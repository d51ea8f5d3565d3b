"""`stoker monitoring`: prints rules for Prometheus and dashboards for Grafana."""

from __future__ import annotations

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_lines, print_json
from ..monitoring.dashboards import DASHBOARDS
from ..monitoring.grafana import grafana_document
from ..monitoring.rules import RUNBOOKS


@click.group()
def monitoring() -> None:
    """Print alert rules for Prometheus and dashboards for Grafana; nothing is asked of Kafka."""


@monitoring.command(short_help="Print the alert rules for Prometheus.")
@click.option(
    "--runbooks",
    metavar="URL",
    default=RUNBOOKS,
    show_default=True,
    help="Where your team reads the runbooks; `#` and the alert's name are added.",
)
@click.option(
    "--owner", metavar="NAME", default="", help="Owner of alerts for which -A declares none, such as workers."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, which Prometheus reads as well.")
@pass_app
def rules(app: AppContext, *, runbooks: str, owner: str, as_json: bool) -> None:
    """Print a rules file for Prometheus: alerts for all queues and job types that workers show in their metrics.

    With -A, each declared queue gets alerts of its own: for having no worker, even if it never had one, and for its
    retention; so does each job type with an SLO, for burning its budget. Each alert has the declared owner as a label,
    and the declared runbook and escalation as annotations. Print the file anew when the declaration or Stoker's version
    changes.

    \b
    Examples:
      stoker monitoring rules > stoker.rules.yml && promtool check rules stoker.rules.yml
      stoker -A shop.jobs:pipeline monitoring rules --runbooks https://wiki.example.org/stoker --owner platform

    Exit codes: 0; 2 when the application cannot be loaded.
    """
    from ..monitoring.rules import all_rules, yaml_text

    groups = all_rules(app.pipeline if app.application else None, runbooks=runbooks, owner=owner)
    if as_json:
        print_json(groups)
    else:
        echo_lines(yaml_text(groups).rstrip("\n"))


@monitoring.command(short_help="Print a dashboard for Grafana.")
@click.argument("name", type=click.Choice([one.name for one in DASHBOARDS]))
def dashboard(name: str) -> None:
    """Print a dashboard as JSON, which Grafana imports or is provisioned with.

    It shows all queues that workers have metrics of. Its data source is chosen in Grafana; its uid stays, so a later
    version takes its place.

    \b
    Examples:
      stoker monitoring dashboard fleet > stoker-fleet.json
      for name in fleet queue failures services; do stoker monitoring dashboard $name > stoker-$name.json; done

    Exit codes: 0; 2 when there is no such dashboard.
    """
    print_json(next(grafana_document(one) for one in DASHBOARDS if one.name == name))
