"""Promises: a budget that burns fires for its owner, a hiccup does not, and an end ends it; judged by promtool."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from stoker.operations.cli import main as stoker
from stoker.operations.monitoring.rules import all_rules, yaml_text
from stoker.operations.monitoring.slo_alerts import NAME, counted_bound_s, slo_rules
from stoker.topology import Breaker, Pipeline, Slo

pytestmark = pytest.mark.timeout(300)

H, DAY = 6 * 60, 24 * 60
"""Minutes of the past that a case has."""
DONE = 'stoker_jobs_settled_total{pipeline="shop",queue="money",type="charge",outcome="done",reason=""}'
DEAD = 'stoker_jobs_settled_total{pipeline="shop",queue="money",type="charge",outcome="dead",reason="attempts-spent"}'
WAITS = 'stoker_job_wait_seconds_count{pipeline="shop",queue="money",type="charge"}'
SHORT = 'stoker_job_wait_seconds_bucket{pipeline="shop",queue="money",type="charge",le="5.0"}'
RUNS = 'messaging_process_duration_seconds_count{pipeline="shop",queue="money",type="charge"}'
QUICK = 'messaging_process_duration_seconds_bucket{pipeline="shop",queue="money",type="charge",le="60.0"}'


def declare() -> Pipeline:
    """A queue of two owners, a dependency that both use, and a type that promises all that can be promised."""
    pipeline = Pipeline("shop")
    money, mails = pipeline.queue("money", partitions=1), pipeline.queue("mails", partitions=1, owner="post")
    slo = Slo(wait=timedelta(seconds=3), run=timedelta(minutes=1), success=0.999)

    @pipeline.job(money, slo=slo, owner='pay"{{ments', runbook="https://wiki/charge", escalation="page", needs=["bank"])
    def charge(number: int) -> None:
        """Promises."""

    @pipeline.job(money, owner="books", breaker=Breaker())
    def book(number: int) -> None:
        """Promises nothing."""

    @pipeline.job(mails, needs=["bank"])
    def send(number: int) -> None:
        """Is the post's."""

    return pipeline


@dataclass(frozen=True)
class Case:
    """Series of a type.

    Attributes:
        series: {name and labels: its values, one a minute}.
        asked_at: the minute.
        fires: {(promise, window, severity)}.
    """

    series: Mapping[str, str]
    asked_at: int
    fires: frozenset[tuple[str, str, str]] = frozenset()


def rates(name: str, *phases: tuple[int, float]) -> dict[str, str]:
    """A counter that grows at these rates a minute, each for so many minutes."""
    words, at = [], 0.0
    for minutes, rate in phases:
        words.append(f"{at:g}+{rate:g}x{minutes - 1}")
        at += rate * minutes
    return {name: " ".join(words)}


FAST, HOURS, DAYS = ("1h", "critical"), ("6h", "critical"), ("3d", "warning")


def burning(promise: str, *found: tuple[str, str]) -> frozenset[tuple[str, str, str]]:
    """The alerts of a promise, by window and severity."""
    return frozenset((promise, window, severity) for window, severity in found)


OF_HOURS = {
    "5 % are dead for an hour, of which there were six": Case(
        {**rates(DONE, (H, 600)), **rates(DEAD, (H - 60, 0), (60, 30))}, H, burning("success", FAST, HOURS, DAYS)
    ),
    "5 % were dead for an hour, which ended ten minutes ago": Case(
        {**rates(DONE, (H, 600)), **rates(DEAD, (H - 70, 0), (60, 30), (10, 0))}, H, burning("success", HOURS, DAYS)
    ),
    "20 % are dead for a minute": Case({**rates(DONE, (H, 600)), **rates(DEAD, (H - 4, 0), (1, 120), (3, 0))}, H),
    "two of few jobs are dead": Case({**rates(DONE, (H, 0.1)), **rates(DEAD, (H - 30, 0), (30, 0.06))}, H),
    "a third of the jobs waits for too long for an hour": Case(
        {**rates(WAITS, (H, 600)), **rates(SHORT, (H - 60, 600), (60, 400))}, H, burning("wait", FAST, DAYS)
    ),
    "all runs take too long": Case(
        {**rates(RUNS, (H, 600)), **rates(QUICK, (H, 0))}, H, burning("run", FAST, HOURS, DAYS)
    ),
}
OF_DAYS = {
    "fewer than one of a thousand are dead, as promised": Case(
        {**rates(DONE, (2 * DAY, 599.5)), **rates(DEAD, (2 * DAY, 0.5))}, 2 * DAY
    ),
    "1 % is dead for six hours": Case(
        {**rates(DONE, (DAY, 600)), **rates(DEAD, (DAY - 360, 0), (360, 6))}, DAY, burning("success", HOURS, DAYS)
    ),
    "one of 400 is dead for days": Case(
        {**rates(DONE, (2 * DAY, 600)), **rates(DEAD, (2 * DAY, 1.5))}, 2 * DAY, burning("success", DAYS)
    ),
}


def judge(promtool: str, folder: Path, tests: list[dict[str, Any]], rules: str, every: str = "1m") -> None:
    """Have promtool evaluate the rules over series."""
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    document = {"rule_files": ["rules.yml"], "evaluation_interval": every, "tests": tests}
    (folder / "tests.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [promtool, "test", "rules", str(folder / "tests.yml")]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("cases", "every"), [(OF_HOURS, "1m"), (OF_DAYS, "5m")], ids=["hours", "days"])
def test_a_budget_that_burns_fires_and_a_hiccup_does_not(
    promtool: str, tmp_path: Path, cases: Mapping[str, Case], every: str
) -> None:
    """Fast within the hour, slowly over days; of dead letters, waits and runs; the fast one ends with its cause."""
    rules = all_rules(declare())
    for group in rules["groups"]:  # the others are judged elsewhere, and days of them take long
        group["rules"] = [rule for rule in group["rules"] if isinstance(rule, dict) and is_of_slo(rule)]
    judge(promtool, tmp_path, [promtool_test(name, case) for name, case in cases.items()], yaml_text(rules), every)


def is_of_slo(rule: Mapping[str, Any]) -> bool:
    """Whether a rule is of a promise."""
    return rule.get("alert") == NAME or "slo" in rule.get("record", "")


def promtool_test(name: str, case: Case) -> dict[str, Any]:
    """One test of promtool's."""
    labels = 'queue="money",type="charge",owner="pay\\"{{ments"'
    expected = [
        {"labels": f'{{promise="{promise}",window="{window}",severity="{severity}",{labels}}}', "value": 1}
        for promise, window, severity in case.fires
    ]
    by = "promise, window, severity, queue, type, owner"
    asked = {
        "expr": f'count by ({by}) (ALERTS{{alertstate="firing",alertname="{NAME}"}})',
        "eval_time": f"{case.asked_at}m",
        "exp_samples": expected,
    }
    series = [{"series": one, "values": values} for one, values in case.series.items()]
    return {"name": name, "interval": "1m", "input_series": series, "promql_expr_test": [asked]}


def test_a_promised_time_is_counted_from_the_next_bound_on() -> None:
    """A histogram knows no time between its bounds; beyond the last one there is no rule, rather than a wrong one."""
    pipeline = declare()
    bounds = {rule.promise: counted_bound_s(rule) for rule in slo_rules(pipeline)}
    assert bounds == {"success": None, "wait": 5.0, "run": 60.0}
    queue = pipeline.queue("nightly", partitions=1)

    @pipeline.job(queue, slo=Slo(run=timedelta(hours=9)))
    def report() -> None:
        """Longer than any bound."""

    assert {rule.promise for rule in slo_rules(pipeline) if rule.job_type == "report"} == {"success"}


def test_each_alert_names_the_owner_of_what_it_is_about(promtool: str, tmp_path: Path) -> None:
    """By type, breaker or queue; what two owners share is nobody's, and the rest is that of --owner."""
    stuck = {"money": "platform", "mails": "post", "foreign": "platform"}
    open_ = {"job type 'book'": "books", "dependency 'bank'": "platform"}
    series = {
        **{f'stoker_jobs_stuck{{pipeline="shop",queue="{queue}"}}': "1x30" for queue in stuck},
        **{f'stoker_breaker_state{{pipeline="shop",breaker="{breaker}",state="open"}}': "1x30" for breaker in open_},
        'stoker_ready{instance="w1"}': "0x30",
        **rates(DEAD, (30, 1)),
    }
    owners = {
        **{("StokerJobsStuck", owner): list(stuck.values()).count(owner) for owner in stuck.values()},
        **{("StokerBreakerOpen", owner): 1 for owner in open_.values()},
        ("StokerNotReady", "platform"): 1,
        ("StokerDeadLetters", 'pay\\"{{ments'): 1,
        ("StokerNoWorker", "platform"): 1,
        ("StokerNoWorker", "post"): 1,
    }
    asked = {
        "expr": f'count by (alertname, owner) (ALERTS{{alertstate="firing",alertname!="{NAME}"}})',
        "eval_time": "29m",
        "exp_samples": [
            {"labels": f'{{alertname="{alert}",owner="{owner}"}}', "value": count}
            for (alert, owner), count in owners.items()
        ],
    }
    inputs = [{"series": one, "values": values} for one, values in series.items()]
    of_type = {"pipeline": "shop", "queue": "money", "type": "charge"}
    told = {
        "alertname": "StokerDeadLetters",
        "eval_time": "29m",
        "exp_alerts": [
            {
                "exp_labels": {"severity": "warning", "owner": 'pay"{{ments', **of_type},
                "exp_annotations": {
                    "summary": "29 jobs of charge became dead letters within 30 minutes",
                    "description": "That is more than one of a hundred of its jobs. They wait in the dead letters of "
                    "queue money until somebody replays or discards them.",
                    "runbook_url": "docs/monitoring.md#stokerdeadletters",
                    "runbook": "https://wiki/charge",
                    "escalation": "page",
                },
            }
        ],
    }
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": [asked], "alert_rule_test": [told]}
    judge(promtool, tmp_path, [test], yaml_text(all_rules(declare(), owner="platform")))


def test_the_command_prints_the_rules_of_promises(
    promtool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the application, for `promtool check`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "promising.py").write_text(
        "from datetime import timedelta\nfrom stoker.topology import Pipeline, Slo\n"
        'pipeline = Pipeline("shop")\nqueue = pipeline.queue("money", partitions=1, owner="payments", slo=Slo())\n'
        "@pipeline.job(queue)\ndef charge(number: int) -> None: ...\n",
        encoding="utf-8",
    )
    words = ["-A", "promising:pipeline", "monitoring", "rules", "--owner", "platform"]
    printed = CliRunner().invoke(stoker, words)
    assert printed.exit_code == 0
    (tmp_path / "rules.yml").write_text(printed.stdout, encoding="utf-8")
    subprocess.run([promtool, "check", "rules", str(tmp_path / "rules.yml")], check=True, capture_output=True)
    rules = json.loads(CliRunner().invoke(stoker, [*words, "--json"]).stdout)["groups"][1]["rules"]
    assert [rule["labels"]["window"] for rule in rules if rule["alert"] == NAME] == ["1h", "6h", "3d"]
    assert all("payments" in rule["labels"]["owner"] for rule in rules)
    assert [rule["alert"] for rule in rules if "platform" in rule["labels"]["owner"]]


def windows() -> Iterator[str]:
    """Those of the page of runbooks."""
    page = (Path(__file__).parents[3] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    table = page.partition("### StokerSloBurns")[2].partition("Both windows")[0]
    return (line.split("|")[1].strip().replace(" ", "") for line in table.splitlines()[4:] if line.count("|") > 2)


def test_the_runbook_has_the_windows() -> None:
    """Its table and the rules are one."""
    found = {rule.long for rule in slo_rules(declare())}
    assert set(windows()) - {"window", "---"} == {"1h", "6h", "3d"}
    assert found == {timedelta(hours=1), timedelta(hours=6), timedelta(days=3)}
