"""Each alert fires for its cause and for nothing else, and not for a hiccup; judged by promtool, of series."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from stoker.operations.cli import main as stoker
from stoker.operations.monitoring.rules import all_alerts, all_rules, yaml_text
from stoker.topology import Pipeline

pytestmark = pytest.mark.timeout(120)

DOCUMENT = Path(__file__).parents[3] / "docs" / "monitoring.md"
SENT = 'stoker_jobs_settled_total{pipeline="shop",queue="mails",type="send",instance="w1"'
HEALTHY = {
    'stoker_partitions{pipeline="shop",queue="mails",state="running",instance="w1"}': "2x200",
    'stoker_queue_unfinished{pipeline="shop",queue="mails",instance="w1"}': "3x200",
    'stoker_queue_oldest_age_seconds{pipeline="shop",queue="mails",instance="w1"}': "2x200",
    'stoker_jobs_waiting{pipeline="shop",queue="mails",reason="due",instance="w1"}': "0x200",
    'stoker_jobs_stuck{pipeline="shop",queue="mails",instance="w1"}': "0x200",
    'stoker_outcomes_stranded{pipeline="shop",queue="mails",instance="w1"}': "0x200",
    'stoker_outcomes_unwritable{pipeline="shop",queue="mails",instance="w1"}': "0x200",
    'stoker_events_given_up_total{pipeline="shop",queue="mails",instance="w1"}': "0x200",
    'stoker_crashes_total{pipeline="shop",queue="mails",instance="w1"}': "0x200",
    'stoker_poll_age_seconds{pipeline="shop",queue="mails",instance="w1"}': "0.1x200",
    'stoker_breaker_state{pipeline="shop",breaker="stripe",state="open",instance="w1"}': "0x200",
    'stoker_breaker_state{pipeline="shop",breaker="stripe",state="half-open",instance="w1"}': "0x200",
    'stoker_ready{pipeline="shop",instance="w1"}': "1x200",
    'stoker_outbox_leads{pipeline="shop",table="outbox",instance="r1"}': "1x200",
    'stoker_outbox_trouble{pipeline="shop",table="outbox",instance="r1"}': "0x200",
    'stoker_outbox_oldest_age_seconds{pipeline="shop",table="outbox",instance="r1"}': "0.2x200",
    'stoker_schedule_overdue_seconds{pipeline="shop",queue="mails",instance="w1"}': "0.3x200",
    'stoker_schedule_instants_total{pipeline="shop",queue="mails",outcome="fired",instance="w1"}': "0+1x200",
    'stoker_schedule_instants_total{pipeline="shop",queue="mails",outcome="missed_left_out",instance="w1"}': "0x200",
    'stoker_index_behind{pipeline="shop",instance="s1"}': "7x200",
    f'{SENT},outcome="done",reason=""}}': "0+600x200",
    f'{SENT},outcome="retried",reason=""}}': "0+3x200",
    f'{SENT},outcome="dead",reason="expired"}}': "0x200",
}
"""A worker that is well, one value a minute: ten jobs a second, 0.5 % of the runs fail."""
(
    PARTITIONS,
    UNFINISHED,
    OLDEST,
    DUE,
    STUCK,
    STRANDED,
    UNWRITABLE,
    GIVEN_UP,
    CRASHES,
    POLL,
    OPEN,
    HALF_OPEN,
    READY,
    *_,
) = HEALTHY
LEADS, TROUBLE, ROW_AGE, OVERDUE, FIRED, MISSED, INDEX, DONE, RETRIED, DEAD = list(HEALTHY)[-10:]
MISSED_AT_W2 = 'stoker_schedule_instants_total{pipeline="shop",queue="mails",outcome="missed_fired",instance="w2"}'
SENT_BY_W2 = SENT.replace("w1", "w2")
DONE_AT_W2, DEAD_AT_W2 = (f'{SENT_BY_W2},outcome="{outcome}"}}' for outcome in ("done", "dead"))
FROM = 90
"""The minute at which all faults begin: rules that compare with the past have one."""


@dataclass(frozen=True)
class Case:
    """What differs from a worker that is well.

    Attributes:
        series: {name and labels: its values from `FROM` on}.
        fires: the alerts that fire, and no others.
        after: minutes after `FROM` at which Prometheus is asked.
        spares: the alerts that a longer fault of the kind would raise, and this hiccup does not.
    """

    series: Mapping[str, str]
    fires: tuple[str, ...] = ()
    after: int = 40
    spares: tuple[str, ...] = ()


def then(name: str, values: str) -> dict[str, str]:
    """Give a gauge other values from `FROM` on."""
    well = HEALTHY[name].split("x")[0]
    return {name: f"{well}x{FROM - 1} {values}"}


def rate(name: str, per_minute: int, minutes: int = 100) -> dict[str, str]:
    """Let a counter go on at another rate from `FROM` on, for some minutes, and as before after that."""
    well = int(HEALTHY[name].split("+")[1].split("x")[0]) if "+" in HEALTHY[name] else 0
    begin, end = well * FROM, well * FROM + per_minute * minutes
    return {name: f"0+{well}x{FROM - 1} {begin}+{per_minute}x{minutes - 1} {end}+{well}x100"}


OLD = then(OLDEST, "60+60x100")
CAUSES = {
    "nothing is wrong": Case({}),
    "all workers end": Case(
        {name: f"{values.split('x')[0]}x{FROM}" for name, values in HEALTHY.items() if "w1" in name},
        ("StokerNoWorker",),
    ),
    "a worker is replaced within a minute": Case(then(PARTITIONS, "0 0 2x100"), after=3, spares=("StokerNoWorker",)),
    "no job ends": Case(
        {**then(UNFINISHED, "3+1x30 33x100"), **OLD, **rate(DONE, 0), **rate(RETRIED, 0)},
        ("StokerOldestJobWaits", "StokerQueueStandsStill"),
    ),
    "no job ends for some minutes": Case(
        {**then(UNFINISHED, "3+1x5 3x100"), **then(OLDEST, "60+60x5 2x100"), **rate(DONE, 0, 6)},
        after=8,
        spares=("StokerQueueStandsStill",),
    ),
    "a queue is paused": Case(
        {
            **then(UNFINISHED, "3+1x30 33x100"),
            **OLD,
            **rate(DONE, 0),
            **rate(RETRIED, 0),
            'stoker_jobs_waiting{pipeline="shop",queue="mails",reason="gate:paused",instance="w1"}': f"0x{FROM} 9x100",
        },
        ("StokerOldestJobWaits",),
    ),
    "an operator has blocked all that waits": Case(
        {
            **then(UNFINISHED, "3+1x30 33x100"),
            **OLD,
            **rate(DONE, 0),
            **rate(RETRIED, 0),
            'stoker_jobs_waiting{pipeline="shop",queue="mails",reason="gate:blocked",instance="w1"}': f"0x{FROM} 9x100",
        },
        ("StokerOldestJobWaits",),
    ),
    "a tenant is paused, and no other job ends": Case(
        {
            **then(UNFINISHED, "3+1x30 33x100"),
            **OLD,
            **rate(DONE, 0),
            **rate(RETRIED, 0),
            'stoker_jobs_waiting{pipeline="shop",queue="mails",reason="gate:paused",instance="w1"}': f"0x{FROM} 1x100",
            'stoker_runners_busy{pipeline="shop",queue="mails",kind="thread",instance="w1"}': f"0x{FROM} 16x100",
        },
        ("StokerOldestJobWaits", "StokerQueueStandsStill"),
    ),
    "the oldest job is held up": Case(OLD, ("StokerOldestJobWaits",)),
    "the oldest job is old for a moment": Case(then(OLDEST, "1000x3 2x100"), after=4, spares=("StokerOldestJobWaits",)),
    "more jobs come than workers manage": Case(then(UNFINISHED, "9000+600x100"), ("StokerBacklogGrows",)),
    "many jobs come at once and are worked off": Case(
        then(UNFINISHED, "9000-300x30 0x100"), after=12, spares=("StokerBacklogGrows",)
    ),
    "many delayed jobs come": Case({**then(UNFINISHED, "9000+600x100"), **then(DUE, "8997+600x100")}),
    "a dependency fails now and then": Case({**rate(RETRIED, 120)}, ("StokerFailuresRise",)),
    "a dependency fails for two minutes": Case(rate(RETRIED, 120, 2), after=4, spares=("StokerFailuresRise",)),
    "each run fails": Case({**rate(DONE, 0), **rate(RETRIED, 600)}, ("StokerMostRunsFail",)),
    "each run fails for two minutes": Case(
        {**rate(DONE, 0, 2), **rate(RETRIED, 600, 2)}, after=4, spares=("StokerMostRunsFail",)
    ),
    "jobs become dead letters": Case(rate(DEAD, 10), ("StokerDeadLetters",)),
    "one job becomes a dead letter": Case(rate(DEAD, 1, 1), after=5, spares=("StokerDeadLetters",)),
    "jobs become dead letters before a new worker is first seen": Case(
        {DONE_AT_W2: f"_x{FROM} 0x100", DEAD_AT_W2: f"_x{FROM} 300x100"}, ("StokerDeadLetters",), after=20
    ),
    "a new worker had some of very many before it was first seen": Case(
        {DONE_AT_W2: f"_x{FROM} 90000x100", DEAD_AT_W2: f"_x{FROM} 300x100"}, after=20
    ),
    "a worker with old dead letters is seen again": Case(
        {DONE_AT_W2: f"0x{FROM - 20} _x10 0x100", DEAD_AT_W2: f"300x{FROM - 20} _x10 300x100"}, after=15
    ),
    "a job is stuck": Case(then(STUCK, "1x100"), ("StokerJobsStuck",)),
    "a job ends late": Case(then(STUCK, "1x3 0x100"), after=3, spares=("StokerJobsStuck",)),
    "a job kills its process again and again": Case(rate(CRASHES, 1), ("StokerChildrenCrash",)),
    "a process dies once": Case(rate(CRASHES, 1, 1), after=5, spares=("StokerChildrenCrash",)),
    "a breaker is open": Case(
        {**then(OPEN, "1 1 0 1 1 0 1 1 0 1x100"), **then(HALF_OPEN, "0 0 1 0 0 1 0 0 1 0x100")}, ("StokerBreakerOpen",)
    ),
    "a breaker opens and closes": Case(then(OPEN, "1x2 0x100"), after=4, spares=("StokerBreakerOpen",)),
    "the brokers take nothing": Case(then(UNWRITABLE, "1x100"), ("StokerOutcomesUnwritable",)),
    "the brokers take nothing for a moment": Case(
        then(UNWRITABLE, "1x1 0x100"), after=2, spares=("StokerOutcomesUnwritable",)
    ),
    "a topic is missing": Case(then(STRANDED, "2x100"), ("StokerOutcomesStranded",)),
    "a topic is there again when it is looked at": Case(
        then(STRANDED, "2 0x100"), after=1, spares=("StokerOutcomesStranded",)
    ),
    "events are given up": Case(rate(GIVEN_UP, 3), ("StokerEventsLost",)),
    "events are given up for a moment": Case(rate(GIVEN_UP, 30, 1), after=6, spares=("StokerEventsLost",)),
    "a job waits for days": Case(then(OLDEST, "400000x100"), ("StokerOldestJobWaits", "StokerRetentionNear")),
    "one job that has waited for days runs": Case(
        then(OLDEST, "400000x3 2x100"), after=4, spares=("StokerRetentionNear",)
    ),
    "a schedule does not fire": Case(then(OVERDUE, "60+60x100"), ("StokerScheduleMissed",)),
    "a schedule is overdue once, within its grace": Case(
        then(OVERDUE, "60 120 180 0x100"), after=3, spares=("StokerScheduleMissed",)
    ),
    "instants were left out": Case(rate(MISSED, 4, 1), ("StokerScheduleMissed",), after=20),
    "a worker leaves instants out as soon as it has started": Case(
        {MISSED_AT_W2: f"_x{FROM} 3x100"},
        ("StokerScheduleMissed",),
        after=20,
    ),
    "instants were left out an hour ago": Case(
        {
            **rate(MISSED, 4, 1),
            MISSED_AT_W2: f"_x{FROM} 3x100",
        },
        after=60,
    ),
    "a relay does not keep up": Case(then(ROW_AGE, "60+60x100"), ("StokerOutboxBehind",)),
    "many rows come at once": Case(then(ROW_AGE, "60 130 140 150 0x100"), after=3, spares=("StokerOutboxBehind",)),
    "a relay cannot publish": Case({**then(TROUBLE, "1x100"), **then(ROW_AGE, "60+60x100")}, ("StokerOutboxStalls",)),
    "a relay cannot publish for a moment": Case(then(TROUBLE, "1x2 0x100"), after=4, spares=("StokerOutboxStalls",)),
    "no relay works": Case(then(LEADS, "0x100"), ("StokerOutboxStalls",)),
    "another relay takes over": Case(then(LEADS, "0 0 1x100"), after=3, spares=("StokerOutboxStalls",)),
    "the index is far behind": Case(then(INDEX, "500000x100"), ("StokerIndexBehind",)),
    "the index catches up": Case(then(INDEX, "500000x5 7x100"), after=9, spares=("StokerIndexBehind",)),
    "the poll thread hangs": Case(then(POLL, "60+60x100"), ("StokerPollThreadHangs",)),
    "the poll thread takes long once": Case(then(POLL, "70 0x100"), after=1, spares=("StokerPollThreadHangs",)),
    "a worker does not get ready": Case(then(READY, "0x100"), ("StokerNotReady",)),
    "a worker restores its partitions": Case(then(READY, "0x4 1x100"), after=4, spares=("StokerNotReady",)),
}


def test_each_alert_has_a_cause_and_a_hiccup_that_are_tested() -> None:
    """An alert that never fired before may never fire; one that fires for hiccups is silenced."""
    names = {alert.name for alert in all_alerts()}
    assert {name for case in CAUSES.values() for name in case.fires} == names
    assert {name for case in CAUSES.values() for name in case.spares} == names
    assert not any(case.fires and case.spares for case in CAUSES.values())


def test_alerts_fire_for_their_causes_alone(promtool: str, tmp_path: Path) -> None:
    """A fault raises the alerts named beside it; the same fault for a moment raises none."""
    (tmp_path / "rules.yml").write_text(yaml_text(all_rules()), encoding="utf-8")
    tests = [_promtool_test(name, case) for name, case in CAUSES.items()]
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    done = _run(promtool, "test", "rules", str(tmp_path / "tests.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def _promtool_test(name: str, case: Case) -> dict[str, Any]:
    series = {**HEALTHY, **case.series}
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in case.fires]
    asked = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{FROM + case.after}m",
        "exp_samples": expected,
    }
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [asked],
    }


def test_queues_of_one_name_are_told_apart(promtool: str, tmp_path: Path) -> None:
    """Of two pipelines that one Prometheus reads, only the one whose workers end has an alert."""
    ending = {name: f"{values.split('x')[0]}x{FROM}" for name, values in HEALTHY.items() if "w1" in name}
    others = {name.replace('"shop"', '"news"'): values for name, values in HEALTHY.items()}
    (tmp_path / "rules.yml").write_text(yaml_text(all_rules()), encoding="utf-8")
    test = _promtool_test("two pipelines", Case({**ending, **others}, ("StokerNoWorker",)))
    test["promql_expr_test"][0] |= {
        "expr": 'count by (alertname, pipeline, queue) (ALERTS{alertstate="firing"})',
        "exp_samples": [{"labels": '{alertname="StokerNoWorker",pipeline="shop",queue="mails"}', "value": 1}],
    }
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = _run(promtool, "test", "rules", str(tmp_path / "tests.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_declared_queues_have_rules_of_their_own(promtool: str, tmp_path: Path) -> None:
    """A queue that never had a worker is found, beside one of that name that has; each is judged by its retention."""
    pipeline = Pipeline("shop")
    pipeline.queue("mails", partitions=1)
    groups = all_rules(pipeline, runbooks="https://wiki/stoker")
    path = tmp_path / "rules.yml"
    path.write_text(yaml_text(groups), encoding="utf-8")
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == groups
    done = _run(promtool, "check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    unserved = next(rule for rule in groups["groups"][1]["rules"] if "absent(" in rule["expr"])  # type: ignore[index]
    asked = {
        "expr": 'count by (alertname, pipeline, queue) (ALERTS{alertstate="firing"})',
        "eval_time": "10m",
        "exp_samples": [{"labels": '{alertname="StokerNoWorker",pipeline="shop",queue="mails"}', "value": 1}],
    }
    other = {"series": 'stoker_partitions{pipeline="news",queue="mails",state="running"}', "values": "2x20"}
    test = {"interval": "1m", "input_series": [other], "promql_expr_test": [asked]}
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = _run(promtool, "test", "rules", str(tmp_path / "tests.yml"))
    assert done.returncode == 0, (done.stdout, unserved)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, text=True, capture_output=True, check=False)


def test_the_command_prints_rules_as_yaml_and_json() -> None:
    """Both are one document."""
    as_yaml = CliRunner().invoke(stoker, ["monitoring", "rules", "--runbooks", "https://wiki/é"])
    as_json = CliRunner().invoke(stoker, ["monitoring", "rules", "--runbooks", "https://wiki/é", "--json"])
    assert (as_yaml.exit_code, as_json.exit_code) == (0, 0)
    found = yaml.safe_load(as_yaml.stdout)
    assert found == json.loads(as_json.stdout)
    assert found["groups"][1]["rules"][0]["annotations"]["runbook_url"] == "https://wiki/é#stokernoworker"


def test_each_alert_has_a_runbook() -> None:
    """Whoever is woken follows the link of the alert to a heading."""
    headings = {line.removeprefix("### ") for line in DOCUMENT.read_text(encoding="utf-8").splitlines()}
    assert {alert.name for alert in all_alerts()} <= headings
