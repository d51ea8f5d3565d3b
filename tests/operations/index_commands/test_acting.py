"""`stoker jobs tail`, `retry` and `cancel`: jobs are watched, run again and ended, by ids and by filters."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stoker.operations.index_commands.retry_plan import plan_lines, plan_retry
from stoker.operations.job_index.entries import HistoryEntry, JobEntry
from stoker.operations.job_index.event_tail import takes
from stoker.operations.job_index.job_filter import JobFilter
from stoker.operations.job_index.job_history import listed_of
from stoker.operations.job_index.states import State
from stoker.topology import ClusterSettings
from support.sight.job_desk import Desk
from support.waiting import wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.expected_errors("dead letter")]

AT = datetime(2013, 1, 1, 5, 17, tzinfo=UTC)
AT_MS = int(AT.timestamp() * 1_000)


def entry(state: State, **facts: object) -> JobEntry:
    """What an event says of job 1."""
    failed = HistoryEntry(
        kind="retried", attempt=1, at_ms=AT_MS, error_type="pay.Declined", fingerprint="ab12cd", message="card declined"
    )
    shared = {"stored": "1", "life": 0, "step": 8, "at_ms": AT_MS, "job_type": "charge", "queue": "bills"}
    place = {"topic": "shop.bills", "partition": 0, "offset": 7, "enqueued_ms": AT_MS}
    told = [failed] if state in (State.RETRYING, State.DEAD) else []
    return JobEntry(**{**shared, **place, "state": state, "history": told, **facts})  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    "wanted",
    [
        JobFilter(queues=("bills", "mails")),
        JobFilter(types=("charge",), states=(State.DEAD,)),
        JobFilter(tenant="acme", key="ada"),
        JobFilter(worker="w1", release="v7"),
        JobFilter(error="Declined"),
        JobFilter(error="pay.Declined", fingerprint="ab1"),
        JobFilter(words="declin* card"),
        JobFilter(since=AT, until=AT + timedelta(seconds=1)),
    ],
    ids=str,
)
def test_the_filters_of_a_tail_are_those_of_the_list(wanted: JobFilter) -> None:
    """Each takes the dead letter that it describes, and not a done job of another team."""
    dead = entry(State.DEAD, tenant="acme", key="ada", worker="w1", release="v7")
    other = entry(State.DONE, queue="reports", job_type="report", enqueued_ms=AT_MS - 1)
    assert takes(wanted, dead)
    assert not takes(wanted, other)


def test_a_retry_does_with_each_job_what_its_state_allows() -> None:
    """Dead letters are replayed, those that wait for their time start now, and all others are left with a reason."""
    plan = plan_retry([listed_of(entry(state)) for state in State])
    assert {queue: [job.state for job in jobs] for queue, jobs in plan.dead.items()} == {"bills": [State.DEAD]}
    assert {job.state for job in plan.to_start} == {State.RETRYING, State.DELAYED, State.SNOOZED, State.DEFERRED}
    assert (plan.total, plan.left_out.total()) == (5, 6)
    assert any("`stoker replay`" in line for line in plan_lines(plan))


@pytest.fixture
def desk(cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return Desk(cluster, namespace, tmp_path)


def states(desk: Desk) -> dict[str, str]:
    """{job: its state} by an index that has caught up."""
    assert desk.run("status", "run", "--once").exit_code == 0  # also where the mark of a transaction is the last offset
    return {job["job_id"]: job["state"] for job in desk.data("jobs", "list")["jobs"]}


def test_events_are_told_as_they_come(desk: Desk) -> None:
    """From the beginning: the run that failed, the dead letter and the done job, of which filters take one."""
    lines = desk.bare("jobs", "tail", "--from", "1h", "--limit", "3").stdout.splitlines()
    assert sorted(line.split()[1] for line in lines) == ["dead", "done", "retrying"]
    (dead,) = desk.bare("jobs", "tail", "--from", "1h", "--state", "dead", "--limit", "1", "--json").stdout.splitlines()
    found = json.loads(dead)
    assert (found["job_id"], found["message"], found["release"]) == (desk.dead, "card declined", "v5")
    refused = desk.bare("jobs", "tail", "--state", "queued")
    assert (refused.exit_code, "`stoker jobs list`" in refused.stderr) == (2, True)


def test_jobs_are_retried_by_id_without_an_index(desk: Desk) -> None:
    """A dead letter goes back to its queue, a delayed job starts now, and the others are left with a reason."""
    shown = desk.run("jobs", "retry", desk.dead, desk.delayed, desk.done, "nonsense", "--dry-run").stdout
    assert [word in shown for word in ("dead letters of work", "delayed, to start now", "it is done", "nonsense")] == [
        True
    ] * 4
    done = desk.data("jobs", "retry", desk.dead, desk.delayed, "--yes", "--reason", "repaired")
    assert (done["replayed"], done["started"]) == (1, 1)
    with desk.working(succeeds=True) as running:
        running.wait_outcomes(Done=3)
    wait_until(lambda: set(states(desk).values()) == {"done"}, what="all jobs to be done")
    trail = [json.loads(line) for line in desk.bare("audit-log", "--json", "--words", "repaired").stdout.splitlines()]
    assert {one["action"] for one in trail} == {"dead-letters-replayed", "reschedule"}
    assert {one["command"].split()[-1] for one in trail} == {"retry"}
    nothing = desk.run("jobs", "retry", desk.done)
    assert (nothing.exit_code, "it is done" in nothing.stdout) == (1, True)


def test_jobs_are_cancelled_by_filters(desk: Desk) -> None:
    """The index takes them; the count is shown, a reason is asked for, and what has ended is left alone."""
    assert desk.run("jobs", "cancel", "--key", "ada").exit_code == 2
    both = desk.run("jobs", "cancel", "any", "--key", "ada")
    assert (both.exit_code, "one of the two" in both.stderr) == (2, True)
    states(desk)
    dry = desk.data("jobs", "cancel", "--key", "ada", "--reason", "has left", "--dry-run")
    assert (set(dry["jobs"]), dry["ordered"]) == ({desk.delayed, desk.waiting}, False)
    unasked = desk.run("jobs", "cancel", "--key", "ada", "--reason", "has left")
    assert "There is no terminal to ask at" in unasked.stderr
    given = desk.run("jobs", "cancel", "--key", "ada", "--reason", "has left", "--yes")
    assert given.exit_code == 0, given.output
    assert "a dead letter waits for nothing" in given.stdout
    with desk.working(succeeds=True) as running:
        running.wait_outcomes(Cancelled=2)
    wait_until(
        lambda: [states(desk)[job] for job in (desk.delayed, desk.waiting)] == ["cancelled"] * 2, what="both to end"
    )
    by_filter = desk.data("jobs", "retry", "--state", "dead", "--error", "ValueError", "--dry-run")
    assert by_filter["dead"] == {"work": [desk.dead]}


def test_a_retry_of_nothing_is_no_success(desk: Desk) -> None:
    """Filters without an index name the process that keeps one."""
    missing = desk.run("jobs", "retry", "--state", "dead", "--yes")
    assert (missing.exit_code, "stoker status run" in missing.stderr) == (1, True)
    states(desk)
    none = desk.run("jobs", "retry", "--tenant", "nobody", "--yes")
    assert (none.exit_code, "no job is like that" in none.stdout) == (1, True)
