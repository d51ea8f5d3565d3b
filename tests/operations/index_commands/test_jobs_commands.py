"""`stoker jobs` and `stoker status` answer for each job, by the index or without it, and say which."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Message

from stoker.operations.job_index import job_history
from stoker.operations.stored_jobs.topic_reader import Span, TopicReader
from stoker.topology import ClusterSettings
from support.sight.job_desk import Desk

pytestmark = [pytest.mark.timeout(180), pytest.mark.expected_errors("dead letter")]

NO_WORKER = "No worker of the queue work runs: `stoker worker` starts one."


@pytest.fixture
def desk(cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return Desk(cluster, namespace, tmp_path)


def test_each_job_is_told_with_all_that_happened_to_it(desk: Desk) -> None:
    """The same by the topics alone, and by the index; the answer says by which."""
    for source in ("the topics were read", "by the index, up to date"):
        shown = desk.run("jobs", "show", desk.dead).stdout
        assert [word in shown for word in ("retried", "dead", "v5", "ValueError: card declined", "in act")] == [
            True
        ] * 5
        assert source in shown
        assert "It is done: run 1 ended" in desk.run("jobs", "why", desk.done).stdout
        assert f"dead show work {desk.dead}" in desk.run("jobs", "why", desk.dead).stdout
        assert "was enqueued to wait until" in desk.run("jobs", "why", desk.delayed).stdout
        assert "No worker of the queue work runs" in desk.run("jobs", "why", desk.waiting).stdout
        document = desk.data("jobs", "show", desk.dead)
        assert [(one["kind"], one["attempt"]) for one in document["history"]] == [("retried", 1), ("dead", 2)]
        assert all(one["began"] and one["worker"] and one["release"] == "v5" for one in document["history"])
        assert desk.run("status", "run", "--once").exit_code == 0


def test_a_delayed_job_is_not_in_the_way_of_a_later_one_of_its_key(desk: Desk) -> None:
    """The topics alone do not show which job is, and the answer says so; the index does."""
    unknown = "Whether it waits for an earlier job of its key 'ada', the topics alone do not show"
    assert any(sentence.startswith(unknown) for sentence in desk.data("jobs", "why", desk.waiting)["why"])
    assert not any(sentence.startswith(unknown) for sentence in desk.data("jobs", "why", desk.delayed)["why"])
    last = desk.enqueue("ada", 5)
    assert desk.run("status", "run", "--once").exit_code == 0
    answer = desk.data("jobs", "why", desk.waiting)
    assert (answer["behind"], answer["why"]) == (None, [NO_WORKER])
    answer = desk.data("jobs", "why", last)
    assert answer["behind"] == desk.waiting
    assert answer["why"][0].startswith(f"Job {desk.waiting} of the same key 'ada', enqueued")
    assert answer["why"][1:] == [NO_WORKER]


def test_a_job_that_is_newer_than_the_index_is_found(
    desk: Desk, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index is fresh, and has not yet read what was enqueued a moment ago: that alone is read from the topics."""
    assert desk.run("status", "run", "--once").exit_code == 0
    new = desk.enqueue("bob", 5)
    read: Counter[str] = Counter()
    read_spans = TopicReader.read

    def read_and_note(reader: TopicReader, spans: Iterable[Span]) -> Iterator[Message]:
        found = list(spans)
        read[reader.topic] += sum(span.length for span in found)
        return read_spans(reader, found)

    monkeypatch.setattr(TopicReader, "read", read_and_note)
    document = desk.data("jobs", "show", new)
    assert (document["state"], document["why"][0]) == ("queued", NO_WORKER)
    assert document["source"].startswith("newer than the index (up to date")
    assert document["place"].startswith(f"{namespace}.work/")
    assert (read[f"{namespace}.work"], read[f"{namespace}.work.dead"]) == (1, 0)
    assert NO_WORKER in desk.run("jobs", "why", new).stdout


def test_the_cancel_of_a_single_job_stands_in_why(desk: Desk) -> None:
    """Until a worker comes to the job, nothing else has it."""
    assert desk.bare("control", "cancel", desk.waiting, "--reason", "a mistake").exit_code == 0
    first, *_ = desk.data("jobs", "why", desk.waiting)["why"]
    assert first.startswith(f"An order stands: cancelled: job {desk.waiting}, since")
    assert first.endswith("a mistake. The job ends without a run when a worker comes to it.")
    assert "An order" not in desk.run("jobs", "why", desk.delayed).stdout


def test_when_a_job_has_ended_is_known_from_the_ledger_as_well(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time at which its record was written is no answer: it may have waited for days."""
    with_events = desk.data("jobs", "show", desk.done, "--topics")
    monkeypatch.setattr(job_history, "entries_of_event", lambda _value: ())
    without = desk.data("jobs", "show", desk.done, "--topics")
    assert (without["known_from"], without["began"]) == ("ledger", None)
    rounding = timedelta(milliseconds=1)  # the brokers cut an instant to it, and events round theirs
    assert datetime.fromisoformat(without["changed"]) >= datetime.fromisoformat(with_events["began"]) - rounding
    assert "only the ledger has it" in without["why"][0]


def test_lists_and_counts_come_from_the_index(desk: Desk) -> None:
    """Without one, the command names the process that builds it."""
    missing = desk.run("jobs", "list")
    assert (missing.exit_code, "stoker status run" in missing.stderr) == (1, True)
    assert desk.run("status", "show").exit_code == 1
    lines = desk.run("status", "run", "--once", "--json").stdout.splitlines()
    assert json.loads(lines[-1])["behind"] == 0
    listed = desk.data("jobs", "list", "--key", "ada")["jobs"]
    assert [job["job_id"] for job in listed] == [desk.waiting, desk.delayed, desk.dead, desk.done]
    assert [job["state"] for job in listed] == ["queued", "delayed", "dead", "done"]
    assert desk.dead in desk.run("jobs", "list", "--words", "declined", "--state", "dead").stdout
    assert "no job is like that" in desk.run("jobs", "list", "--tenant", "nobody").stdout
    assert "\n1 job, searched back to" in desk.run("jobs", "list", "--limit", "1").stdout
    assert "\n1 job\n" in desk.run("jobs", "list", "--state", "dead").stdout
    assert "\n4 jobs\n" in desk.run("jobs", "list").stdout
    assert "for more: --until" in desk.run("jobs", "list", "--limit", "1").stdout
    counted = desk.data("jobs", "list", "--group-by", "state", "--since", "1h")
    assert counted == [{"state": "dead", "jobs": 1}, {"state": "done", "jobs": 1}]
    shown = desk.data("status", "show")
    assert (shown["jobs"], shown["is_stale"]) == (4, False)


def test_what_cannot_be_is_said(desk: Desk) -> None:
    """An unknown id is no traceback, and a count of single jobs no empty answer."""
    unknown = desk.run("jobs", "show", "nonsense")
    assert (unknown.exit_code, "no job nonsense is on any topic" in unknown.stderr) == (1, True)
    assert desk.run("status", "run", "--once").exit_code == 0
    unknown = desk.run("jobs", "show", "nonsense")
    assert (unknown.exit_code, "no job nonsense is known" in unknown.stderr) == (1, True)
    refused = desk.run("jobs", "list", "--group-by", "type", "--key", "ada")
    assert (refused.exit_code, "--key takes single jobs" in refused.stderr) == (2, True)
    assert desk.run("jobs", "list", "--since", "1h", "--until", "2h").exit_code == 2
    refused = desk.run("jobs", "list", "--group-by", "type", "--state", "queued", "--since", "1h")
    assert (refused.exit_code, "none of which is queued" in refused.stderr) == (2, True)
