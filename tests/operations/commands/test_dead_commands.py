"""`stoker dead` and `stoker replay` as an operator meets them: what they print, ask, refuse, and how they end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.stored_jobs.dispositions import is_disposition
from stoker.operations.stored_jobs.stored_job import StoredJob, record_of
from stoker.operations.stored_jobs.topic_reader import TopicReader
from stoker.topology import ClusterSettings
from stoker.topology.planning.schema_store import schema_store
from stoker.topology.wire import headers as wire
from support.scenes.dead_letters import BROKEN, DeadJob
from support.scenes.shop_application import Shop, make_shop, open_shop
from support.waiting import wait_until


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings) -> Shop:
    """An application with its topics, and six dead letters in two partitions."""
    shop = open_shop(tmp_path, monkeypatch, namespace, cluster)
    add_dead(shop, cluster, [mail(order) for order in range(4)])
    add_dead(shop, cluster, [mail(4, error="builtins.TimeoutError"), mail(5, value=BROKEN)])
    return shop


def mail(order: int, **kwargs: Any) -> DeadJob:
    """A dead letter of the mails."""
    return DeadJob(order=order, job_type="send_mail", **kwargs)


def add_dead(shop: Shop, cluster: ClusterSettings, dead_jobs: Iterable[DeadJob]) -> None:
    """Write dead letters by the wire contract; orders 0, 2, 4 go to partition 0, the others to 1."""
    queue, contract = shop.pipeline.queues["mails"], shop.pipeline.job_types["send_mail"].contract
    store, producer = schema_store(shop.pipeline, cluster), Producer(cluster.client_config())
    for dead in dead_jobs:
        payload = store.frame(contract, contract.encode(contract.payload((dead.order,), {})))
        producer.produce(
            queue.dead_topic,
            payload if dead.value is None else dead.value,
            partition=dead.order % 2,
            headers=dead.headers(queue.topic),
        )
    assert producer.flush(20) == 0
    store.close()


def jobs(shop: Shop, cluster: ClusterSettings) -> list[StoredJob]:
    """What is on the main topic."""
    return records(cluster, shop.pipeline.queues["mails"].topic)


def records(cluster: ClusterSettings, topic: str) -> list[StoredJob]:
    """Every committed record of a topic."""
    with TopicReader(cluster, topic) as reader:
        return [record_of(message) for message in reader.read(reader.spans())]


def test_the_list_shows_open_dead_letters_and_groups_them(shop: Shop) -> None:
    """Rows name each dead letter's reference, id and error; groups count by error; JSON has a document a line."""
    listed = shop.stoker("dead", "list", "mails")
    assert listed.exit_code == ExitCode.OK
    assert "mails: 6 open dead letters" in listed.stdout
    assert all(f"job-{order}" in listed.stdout for order in range(6))
    assert "CardRefused: the bank said no" in listed.stdout

    rows = [json.loads(line) for line in shop.stoker("dead", "list", "mails", "--json").stdout.splitlines()]
    assert {row["ref"] for row in rows} == {"0/0", "0/1", "0/2", "1/0", "1/1", "1/2"}
    groups = [json.loads(line) for line in shop.stoker("dead", "list", "--group", "--json").stdout.splitlines()]
    assert [(group["error_type"], group["count"]) for group in groups] == [
        ("shop.errors.CardRefused", 5),
        ("builtins.TimeoutError", 1),
    ]
    latest = shop.stoker("dead", "list", "mails", "--limit", "1", "--error", "TimeoutError")
    assert "mails: 1 open dead letter\n" in latest.stdout


def test_json_is_complete_unless_a_limit_was_asked_for(shop: Shop, cluster: ClusterSettings) -> None:
    """A program gets every dead letter of however many; people get the latest hundred, and a note of that."""
    add_dead(shop, cluster, [mail(order) for order in range(6, 156)])
    lines = shop.stoker("dead", "list", "mails", "--json").stdout.splitlines()
    assert sorted(int(json.loads(line)["id"].removeprefix("job-")) for line in lines) == list(range(156))
    assert len(shop.stoker("dead", "list", "mails", "--json", "--limit", "7").stdout.splitlines()) == 7

    shown = shop.stoker("dead", "list", "mails").stdout
    assert "mails: 156 open dead letters, the latest 100 shown (--limit shows more)" in shown


def test_a_reader_that_has_enough_ends_the_command_quietly(shop: Shop, cluster: ClusterSettings) -> None:
    """`stoker dead list --json | head -1` prints one dead letter and no error, and its exit code differs."""
    add_dead(shop, cluster, [mail(order) for order in range(6, 600)])
    stoker = Path(sys.executable).with_name("stoker")
    done = subprocess.run(
        ["bash", "-c", f"{stoker} -A {shop.application} dead list mails --json | head -1; echo ${{PIPESTATUS[0]}}"],
        env={**shop.process_environment(), "PYTHONPATH": str(shop.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    dead_letter, code = done.stdout.splitlines()
    assert json.loads(dead_letter)["queue"] == "mails"
    assert int(code) == ExitCode.OUTPUT_CLOSED
    assert done.stderr == ""


def test_show_tells_everything_of_one_dead_letter(shop: Shop) -> None:
    """Payload, stack and headers are shown; bytes that are no payload come as hex, and for programs as base64."""
    shown = shop.stoker("dead", "show", "mails", "0/1")
    assert shown.exit_code == ExitCode.OK
    for part in ('"order_id": 2', "Traceback", "tenant: south", "00aa11bb22cc33dd", "open: neither"):
        assert part in shown.stdout

    broken = shop.stoker("dead", "show", "mails", "job-5")
    assert BROKEN.hex(" ")[:20] in broken.stdout
    document = json.loads(shop.stoker("dead", "show", "mails", "job-5", "--json").stdout)
    assert "undecodable" in document["payload_read"]
    assert list(document["payload"]) == ["base64"]


def test_a_replay_counts_first_and_asks(shop: Shop, cluster: ClusterSettings) -> None:
    """A dry run shows counts by type and error; without a terminal and without --yes nothing is published."""
    dry = shop.stoker("dead", "replay", "mails", "--dry-run")
    assert dry.exit_code == ExitCode.OK
    assert "5 dead letters to replay" in dry.stdout
    assert "left out: 1, because undecodable payload" in dry.stdout
    unasked = shop.stoker("dead", "replay", "mails")
    assert unasked.exit_code == ExitCode.REFUSED
    assert "--yes" in unasked.stderr
    assert jobs(shop, cluster) == []


def test_a_replay_publishes_and_reports_in_json(shop: Shop, cluster: ClusterSettings) -> None:
    """With --json stdout is one document; the words go to stderr."""
    done = shop.stoker("dead", "replay", "mails", "--type", "send_mail", "--yes", "--json", "--rate", "1000")
    assert done.exit_code == ExitCode.OK
    document = json.loads(done.stdout)
    assert (document["selected"], document["done"], document["stopped"]) == (5, 5, False)
    assert {job.replay for job in jobs(shop, cluster)} == {document["id"]}
    assert "mails: 1 open dead letter\n" in shop.stoker("dead", "list", "mails").stdout
    assert "5 of them were settled before" in shop.stoker("dead", "replay", "mails", "--again", "--dry-run").stdout


def test_the_dead_letters_and_jobs_of_one_tenant_are_shown_and_replayed(shop: Shop, cluster: ClusterSettings) -> None:
    """`--tenant` selects them in lists and both replays; what is published again keeps tenant and partition."""
    add_dead(shop, cluster, [mail(order, extra=((wire.TENANT, b"acme"),)) for order in (6, 7)])
    rows = [json.loads(line) for line in shop.stoker("dead", "list", "mails", "--json").stdout.splitlines()]
    assert Counter(row["tenant"] for row in rows) == {None: 6, "acme": 2}
    listed = shop.stoker("dead", "list", "mails", "--tenant", "acme").stdout
    assert "mails: 2 open dead letters" in listed
    assert "TENANT" in listed
    assert "TENANT" not in shop.stoker("dead", "list", "mails", "--id", "job-1").stdout
    assert "tenant         acme" in shop.stoker("dead", "show", "mails", "job-6").stdout

    assert shop.stoker("dead", "replay", "mails", "--tenant", "acme", "--yes").exit_code == ExitCode.OK
    assert {(job.tenant, job.ref.partition) for job in jobs(shop, cluster)} == {("acme", 0), ("acme", 1)}
    assert shop.stoker("dead", "replay", "mails", "--id", "job-0", "--yes").exit_code == ExitCode.OK
    again = shop.stoker("replay", "mails", "--from-offset", "0", "--tenant", "acme", "--include-replays", "--yes")
    assert again.exit_code == ExitCode.OK, again.stderr
    assert Counter(job.tenant for job in jobs(shop, cluster)) == {"acme": 4, "": 1}


def test_a_named_dead_letter_that_was_settled_before_is_shown_so(shop: Shop) -> None:
    """Who replays or discards a dead letter twice learns why there is nothing to do, and what would do it."""
    assert shop.stoker("dead", "replay", "mails", "0/0", "--yes").exit_code == ExitCode.OK
    again = shop.stoker("dead", "replay", "mails", "0/0", "--yes")
    assert (
        "0 dead letters to replay\n1 dead letter of those named: replayed or discarded before: `dead replay --again`"
        in (again.stdout)
    )
    assert (
        json.loads(shop.stoker("dead", "discard", "mails", "0/0", "--reason", "late", "--yes", "--json").stdout)[
            "passed_over"
        ]
        == 1
    )


def test_a_corrected_payload_is_published_and_a_wrong_one_refused(shop: Shop, cluster: ClusterSettings) -> None:
    """--set and --payload correct dead letters through the schema; a value that does not fit names its field."""
    wrong = shop.stoker("dead", "replay", "mails", "0/0", "--set", "order_id=true", "--yes")
    assert wrong.exit_code == ExitCode.USAGE
    assert "'order_id'" in wrong.stderr
    assert shop.stoker("dead", "replay", "mails", "--set", "name=Ada", "--yes").exit_code == ExitCode.USAGE

    assert shop.stoker("dead", "replay", "mails", "0/0", "--set", 'name="Ada"', "--yes").exit_code == ExitCode.OK
    payload = shop.folder / "payload.json"
    payload.write_text('{"order_id": 5, "name": "Eve"}')
    whole = ("--payload", str(payload), "--yes")
    assert shop.stoker("dead", "replay", "mails", *whole).exit_code == ExitCode.USAGE  # which dead letter?
    assert shop.stoker("dead", "replay", "mails", "job-5", *whole).exit_code == ExitCode.OK
    contract, store = shop.pipeline.job_types["send_mail"].contract, schema_store(shop.pipeline, cluster)
    expected = {
        name: store.frame(contract, contract.encode(contract.payload((order, name), {})))
        for order, name in ((0, "Ada"), (5, "Eve"))
    }
    store.close()
    assert {job.value for job in jobs(shop, cluster)} == set(expected.values())


def test_a_dry_run_shows_each_correction_before_and_after(shop: Shop, cluster: ClusterSettings) -> None:
    """An operator sees what --set and --payload change before anything is published."""
    dry = shop.stoker("dead", "replay", "mails", "--set", 'name="Ada"', "--set", 'tags=["a"]', "--dry-run")
    assert 'job-0: name: "nobody" → "Ada"; tags: [] → ["a"]' in dry.stdout
    same = shop.stoker("dead", "replay", "mails", "0/0", "--set", 'name="nobody"', "--dry-run")
    assert "0/0 job-0: nothing changes, its payload is so already" in same.stdout

    add_dead(shop, cluster, [mail(order) for order in range(10, 40)])
    many = ("dead", "replay", "mails", "--set", 'name="Ada"', "--dry-run")
    assert "  and 30 dead letters more (--json shows more of them)" in shop.stoker(*many).stdout
    document = json.loads(shop.stoker(*many, "--json").stdout)
    change = {"path": "name", "before": "nobody", "after": "Ada", "was_absent": False, "is_absent": False}
    assert (len(document["corrections"]), document["corrections_are_cut"]) == (20, True)
    assert all(correction["fields"] == [change] for correction in document["corrections"])

    payload = shop.folder / "payload.json"
    payload.write_text('{"order_id": 5}')
    fixed = shop.stoker("dead", "replay", "mails", "job-5", "--payload", str(payload), "--dry-run")
    assert "job-5: payload: (absent) → " in fixed.stdout
    assert jobs(shop, cluster) == []


def test_a_discard_needs_a_reason_and_leaves_the_queue_alone(shop: Shop, cluster: ClusterSettings) -> None:
    """Discarded dead letters are closed with reason and operator, and nothing is published."""
    assert shop.stoker("dead", "discard", "mails", "job-5", "--yes").exit_code == ExitCode.USAGE
    done = shop.stoker("dead", "discard", "mails", "job-5", "--reason", "test data", "--yes")
    assert "1 dead letter discarded" in done.stdout
    assert "test data" in shop.stoker("dead", "show", "mails", "job-5").stdout
    assert "discarded" in shop.stoker("dead", "list", "mails", "--all").stdout
    assert jobs(shop, cluster) == []


def test_an_unknown_dead_letter_is_a_finding_and_an_unknown_queue_wrong_usage(shop: Shop) -> None:
    """Both are named, with a way out."""
    assert shop.stoker("dead", "show", "mails", "job-99").exit_code == ExitCode.FINDING
    unknown = shop.stoker("dead", "list", "mail")
    assert unknown.exit_code == ExitCode.USAGE
    assert "mails" in unknown.stderr


def test_a_queue_is_replayed_from_an_offset_and_not_its_own_replays(shop: Shop, cluster: ClusterSettings) -> None:
    """`stoker replay` counts, publishes under a new id, and leaves replays out unless asked."""
    assert shop.stoker("replay", "mails").exit_code == ExitCode.USAGE
    for order in range(6):
        assert shop.stoker("enqueue", "send_mail", f"order_id={order}", "--key", f"k{order}").exit_code == ExitCode.OK
    since = shop.stoker("replay", "mails", "--from-time", "-1h", "--dry-run")
    assert "6 jobs to publish again" in since.stdout
    done = shop.stoker("replay", "mails", "--from-offset", "0", "--yes", "--json")
    assert json.loads(done.stdout)["done"] == 6
    assert set(Counter(job.job_id for job in jobs(shop, cluster)).values()) == {2}

    second = shop.stoker("replay", "mails", "--from-offset", "0", "--dry-run")
    assert "6 jobs to publish again" in second.stdout
    assert "left out: 6 jobs that a replay has published" in second.stdout
    other = shop.stoker("replay", "mails", "--replay-id", json.loads(done.stdout)["id"], "--from-offset", "0")
    assert other.exit_code == ExitCode.USAGE
    finished = shop.stoker("replay", "mails", "--replay-id", json.loads(done.stdout)["id"], "--yes")
    assert "0 jobs left to publish again" in finished.stdout


def test_an_interrupted_replay_ends_cleanly_and_goes_on(shop: Shop, cluster: ClusterSettings) -> None:
    """Ctrl-C finishes the batch, says how to go on and exits 130; started again, each dead letter is published once."""
    add_dead(shop, cluster, [mail(order) for order in range(10, 40)])
    dead_topic = shop.pipeline.queues["mails"].dead_topic
    stoker = Path(sys.executable).with_name("stoker")
    command = [str(stoker), "-A", shop.application, "dead", "replay", "mails", "--yes", "--rate", "4"]
    replay = subprocess.Popen(
        command,
        env={**shop.process_environment(), "PYTHONPATH": str(shop.folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(
        lambda: any(map(is_disposition, records(cluster, dead_topic))), 60, "the first dead letters to be replayed"
    )
    replay.send_signal(signal.SIGINT)
    said, _ = replay.communicate(timeout=60)
    assert replay.returncode == ExitCode.INTERRUPTED, said
    assert "stopped before the end" in said
    assert "start the same command again" in said

    assert 0 < len(jobs(shop, cluster)) < 35
    assert shop.stoker("dead", "replay", "mails", "--yes").exit_code == ExitCode.OK
    once = Counter(job.job_id for job in jobs(shop, cluster))
    assert once == {f"job-{order}": 1 for order in (*range(5), *range(10, 40))}
    assert {len([job for job in jobs(shop, cluster) if wire.ATTEMPT in job.headers])} == {0}


def test_an_unreachable_cluster_is_distinguished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    """Without brokers the command ends in bounded time with the exit code for that."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = "127.0.0.1:9"
    assert shop.stoker("dead", "list", "mails").exit_code == ExitCode.UNREACHABLE
