"""`stoker control` and `stoker workers`: what people and programs see, with and without workers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stoker.consumers.control import control_thread
from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.control_commands import ended_watch
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.scenes.shop_application import Shop, make_shop, open_shop
from support.scenes.worker import running_worker
from support.waiting import wait_until


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: ClusterSettings, namespace: str) -> Shop:
    """An application whose topics exist; ann is at the terminal."""
    monkeypatch.setenv("STOKER_OPERATOR", "ann")
    return open_shop(tmp_path, monkeypatch, namespace, cluster)


def test_where_nothing_was_ordered_and_nobody_works(shop: Shop) -> None:
    """Each command says so, and what to do."""
    assert "no order stands for" in shop.stoker("control", "list").output
    assert "no order was given for" in shop.stoker("control", "log").output
    assert "`stoker worker` starts one" in shop.stoker("workers").output
    assert json.loads(shop.stoker("workers", "--json").stdout) == []


def test_an_order_stands_and_is_logged_until_it_is_lifted(shop: Shop) -> None:
    """With who gave it, from where, and why."""
    given = shop.stoker(
        "control", "pause", "--queue", "mails", "--until", "2h", "--reason", "repair", "--wait", "--json"
    )
    order = json.loads(given.stdout)
    assert given.exit_code == 0
    assert (order["verb"], order["target"]) == ("pause", {"queue": "mails"})
    assert (order["operator"], order["reason"]) == ("ann", "repair")
    assert 7_100 < (datetime.fromisoformat(order["until"]) - datetime.now(UTC)).total_seconds() <= 7_200
    assert (order["taken_by_all"], order["answers"]) == (True, [])
    assert "pause queue mails until" in shop.stoker("control", "list").output
    assert "paused: queue mails until" in shop.stoker("queues", "--sample", "0s").output
    (mails,) = json.loads(shop.stoker("queues", "mails", "--sample", "0s", "--json").stdout)
    assert [found["order_id"] for found in mails["orders"]] == [order["order_id"]]
    lifted = shop.stoker("control", "resume", "--queue", "mails", "--operator", "bob", "--wait")
    assert "no worker runs; those that start take it before their first job" in lifted.output
    assert "lifts nothing" not in lifted.output
    assert "no order stands" in shop.stoker("control", "list").output
    assert "lifts nothing" in shop.stoker("control", "resume", "--queue", "bills").output
    logged = [json.loads(line) for line in shop.stoker("control", "log", "--json").stdout.splitlines()]
    assert [(found["verb"], found["operator"]) for found in logged] == [
        *(("pause", "ann"), ("resume", "bob"), ("resume", "ann")),
    ]
    table = shop.stoker("control", "log", "--limit", "1").output
    assert "resume queue bills" in table
    assert "mails" not in table


def test_workers_and_their_answers(shop: Shop, cluster: ClusterSettings) -> None:
    """A worker is listed with what it does, and counted where it has taken an order."""
    with running_worker(shop.pipeline, cluster, worker_id="w1"):
        wait_until(lambda: json.loads(shop.stoker("workers", "--json").stdout), what="the worker")
        given = shop.stoker("control", "block", "--tenant", "acme", "--reason", "fraud", "--wait", "--timeout", "60s")
        assert given.exit_code == 0, given.output
        assert "taken by the one worker that runs" in given.output
        assert "1 of 1" in shop.stoker("control", "log").output
        quiet = shop.stoker("control", "worker", "quiet", "--worker", "w1", "--wait", "--timeout", "60s")
        assert quiet.exit_code == 0, quiet.output
        (row,) = json.loads(shop.stoker("workers", "--json").stdout)
        assert (row["id"], row["state"], row["is_living"], row["not_understood"]) == ("w1", "quiet", True, 0)
        assert "w1" in shop.stoker("workers").output
        shown = shop.stoker("control", "worker", "inspect", "--all", "--timeout", "60s")
        assert "queue mails on w1: 0 running, 0 ready, 0 parked, 0 delayed, 0 in flight" in shown.output
    unanswered = shop.stoker("control", "worker", "inspect", "--worker", "w1", "--timeout", "1s")
    assert unanswered.exit_code == ExitCode.FINDING
    assert "within 1 s, no worker w1 has answered; `stoker workers` shows which live" in unanswered.output
    assert "w1" not in shop.stoker("workers").output
    assert "gone" in shop.stoker("workers", "--all").output


def test_a_reschedule_says_where_the_job_waits_and_when_it_starts(shop: Shop, cluster: ClusterSettings) -> None:
    """One that waits in no delay or retry topic is named as well; without a time nothing is ordered."""
    with Producer(shop.pipeline, cluster) as producer:
        mail = shop.pipeline.job_types["send_mail"]
        producer.enqueue(mail.with_options(job_id="mail-1", delay=timedelta(days=1)), 7)
        with running_worker(shop.pipeline, cluster, worker_id="w1") as running:
            running.wait_outcomes(Delayed=1)
            later = shop.stoker("control", "reschedule", "mail-1", "--at", "2h", "--wait", "--timeout", "60s")
            assert later.exit_code == 0, later.output
            assert ".delay.long/" in later.output
            assert "ordered: reschedule job mail-1 to 20" in later.output
            assert "reschedule job mail-1 to 20" in shop.stoker("control", "list").output
            now = shop.stoker("control", "reschedule", "mail-1", "--now", "--queue", "mails", "--json")
            printed = [line for line in now.stdout.splitlines() if line.startswith("{")]  # the job prints here as well
            order = json.loads(printed[0])
            assert (order["verb"], order["target"]["job_id"]) == ("reschedule", "mail-1")
            assert order["due_at"] == order["at"]
            assert order["place"]["topic"].endswith(".mails.delay.long")
            running.wait_outcomes(Done=1)
    assert "waits neither in a delay nor for a retry" in shop.stoker("control", "reschedule", "none", "--now").output
    refused = shop.stoker("control", "reschedule", "mail-1")
    assert refused.exit_code == ExitCode.USAGE, refused.output
    assert "name one time" in refused.output


def test_a_cancel_by_filter_shows_its_count_and_asks(shop: Shop, cluster: ClusterSettings) -> None:
    """Nothing is ordered before the answer is yes; a dry run only counts."""
    with Producer(shop.pipeline, cluster) as producer:
        mail = shop.pipeline.job_types["send_mail"]
        producer.enqueue_many(mail.call(7) for _ in range(20))
        producer.enqueue(mail.with_options(delay=timedelta(days=1)), 7)
    counted = json.loads(shop.stoker("control", "cancel", "--type", "send_mail", "--dry-run", "--json").stdout)
    assert (counted["jobs"], counted["states"], counted["ordered"]) == (21, {"queued": 20, "delayed": 1}, False)
    assert counted["types"] == [{"queue": "mails", "type": "send_mail", "jobs": 21}]
    words = ("control", "cancel", "--type", "send_mail", "--reason", "wrong price")
    refused = shop.stoker(*words)
    assert refused.exit_code == ExitCode.REFUSED
    assert "21 jobs not ended: 1 delayed, 20 queued" in refused.output
    assert "Cancel 21 jobs?" in refused.output
    assert "no order was given" in shop.stoker("control", "log").output
    older = shop.stoker("control", "cancel", "--queue", "mails", "--older-than", "1h", "--dry-run")
    assert "no job is there that it means" in older.output
    ordered = shop.stoker(*words, "--yes")
    assert "ordered: cancel type send_mail enqueued before" in ordered.output
    assert "cancelled: type send_mail" in shop.stoker("queues", "--sample", "0s").output
    with running_worker(shop.pipeline, cluster, worker_id="w1") as running:
        running.wait_outcomes(Cancelled=21)
        wait_until(lambda: "21" in _last_ended(shop), what="the status of the worker")
    order_id = json.loads(shop.stoker("control", "list", "--json").stdout)["order_id"]
    assert f"(order {order_id})" in shop.stoker("control", "list").output
    assert shop.stoker("control", "uncancel", "--order", order_id).exit_code == 0
    assert "no order stands" in shop.stoker("control", "list").output


def test_people_watch_how_many_jobs_have_ended(
    shop: Shop, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until all have, or none does any more, or no worker runs."""
    monkeypatch.setattr(control_thread, "STATUS_INTERVAL_S", 0.3)
    monkeypatch.setattr(ended_watch, "IDLE_S", 2.0)
    words = ("control", "cancel", "--type", "send_mail", "--reason", "wrong price", "--yes", "--watch")
    with Producer(shop.pipeline, cluster) as producer:
        mail = shop.pipeline.job_types["send_mail"]
        producer.enqueue_many(mail.call(7) for _ in range(20))
        alone = shop.stoker(*words)
        assert alone.exit_code == 0, alone.output
        assert "ended: 0 of 20 jobs; no worker runs, and those that start go on" in alone.output
        with running_worker(shop.pipeline, cluster, worker_id="w1") as running:
            running.wait_outcomes(Cancelled=20)
            shop.stoker("control", "pause", "--queue", "mails", "--wait", "--timeout", "60s")
            producer.enqueue_many(mail.call(7) for _ in range(10))
            wait_until(lambda: sum(found.count for found in running.worker.inspect()[0].held) == 10, what="the jobs")
            watched = shop.stoker(*words, "--wait", "--timeout", "60s")
            assert "10 jobs not ended: 10 queued" in watched.output
            assert "taken by the one worker that runs" in watched.output
            assert watched.output.endswith("ended: 10 of 10 jobs\n")
            idle = shop.stoker("control", "cancel", "none", "--watch")
            assert "ended: 0 of 1 job, and none in the last 2 s" in idle.output


def test_a_block_that_discards_shows_its_count_and_asks(shop: Shop, cluster: ClusterSettings) -> None:
    """One that holds jobs back ends none of them, and does not ask."""
    with Producer(shop.pipeline, cluster) as producer:
        producer.enqueue_many(shop.pipeline.job_types["send_mail"].call(7) for _ in range(20))
    words = ("control", "block", "--type", "send_mail", "--discard")
    counted = json.loads(shop.stoker(*words, "--dry-run", "--json").stdout)
    assert (counted["jobs"], counted["ordered"], counted["target"]["discard"]) == (20, False, True)
    refused = shop.stoker(*words, "--reason", "not wanted")
    assert refused.exit_code == ExitCode.REFUSED
    assert "20 jobs not ended: 20 queued" in refused.output
    assert "End 20 jobs, and all that come?" in refused.output
    assert "no order was given" in shop.stoker("control", "log").output
    ordered = shop.stoker(*words, "--reason", "not wanted", "--yes")
    assert ordered.exit_code == 0, ordered.output
    assert "ordered: block and discard type send_mail" in ordered.output
    held = shop.stoker("control", "block", "--type", "write_bill", "--reason", "not now")
    assert "not ended" not in held.output
    assert held.exit_code == 0, held.output


def _last_ended(shop: Shop) -> str:
    """How many jobs the last order has ended."""
    return str(json.loads(shop.stoker("control", "log", "--limit", "1", "--json").stdout)["ended"])


def test_many_ids_are_one_order(shop: Shop, cluster: ClusterSettings, tmp_path: Path) -> None:
    """From a file and the command line; shown and listed as one, and each of them in JSON."""
    (tmp_path / "ids").write_text("job-1\njob-2\n\n")
    with Producer(shop.pipeline, cluster) as producer:
        producer.enqueue(shop.pipeline.job_types["send_mail"].with_options(job_id="job-2"), 7)
    words = ("control", "cancel", "job-3", "--ids-from", str(tmp_path / "ids"))
    dry = shop.stoker(*words, "--dry-run")
    assert "would order: cancel 3 jobs" in dry.output
    assert "2 ids of no job that is there" in dry.output
    ordered = json.loads(shop.stoker(*words, "--json").stdout)
    assert (ordered["target"], ordered["verb"]) == ({"job_count": 3}, "cancel")
    listed = [json.loads(line) for line in shop.stoker("control", "list", "--json").stdout.splitlines()]
    assert {found["target"]["job_id"] for found in listed} == {"job-1", "job-2", "job-3"}
    assert shop.stoker("control", "list").output.count("cancel 3 jobs") == 1
    assert "lifts nothing" in shop.stoker("control", "uncancel", "--order", "nope").output
    assert "for 1 of these ids" in shop.stoker("control", "uncancel", "job-1", "job-9").output
    assert shop.stoker("control", "log").output.count("cancel 3 jobs") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cancel"], "by their ids, or by a filter"),
        (["cancel", "--type", "send_mail"], "needs a reason"),
        (["cancel", "--type", "send_mial", "--reason", "x"], "did you mean send_mail"),
        (["cancel", "job-1", "--queue", "mails"], "by their ids, or by a filter"),
        (["uncancel"], "or the order that has cancelled them"),
        (["pause"], "name one target"),
        (["pause", "--queue", "mials"], "did you mean mails"),
        (["pause", "--queue", "mails", "--type", "send_mail"], "name one target"),
        (["pause", "--key", "k"], "name one target"),
        (["pause", "--queue", "mails", "--partition", "99"], "not 99"),
        (["pause", "--queue", "mails", "--until", "2013-01-01"], "over already"),
        (["pause", "--queue", "mails", "--reason", "x" * 1_001], "1000 characters"),
        (["block", "--queue", "mails", "--reason", "x"], "a whole queue is paused"),
        (["block", "--tenant", "acme"], "needs a reason"),
        (["worker", "stop"], "one of --worker, --host and --all"),
        (["worker", "quiet", "--worker", "a", "--host", "b"], "one of --worker, --host and --all"),
    ],
    ids=" ".join,
)
def test_orders_that_make_no_sense_are_refused(shop: Shop, words: list[str], said: str) -> None:
    """With the exit code of a wrong command line; nothing is ordered."""
    refused = shop.stoker("control", *words)
    assert refused.exit_code == ExitCode.USAGE, refused.output
    assert said in refused.output
    assert "no order was given" in shop.stoker("control", "log").output


def test_without_the_topics_the_message_has_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: ClusterSettings, namespace: str
) -> None:
    """They come with `topology apply`."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = cluster.bootstrap_servers
    for words in (["control", "pause", "--queue", "mails"], ["control", "list"], ["control", "log"], ["workers"]):
        refused = shop.stoker(*words)
        assert refused.exit_code == ExitCode.FINDING, refused.output
        assert "run `stoker topology apply`" in refused.output
