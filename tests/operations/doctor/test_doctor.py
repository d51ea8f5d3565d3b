"""What the doctor finds: every verdict over facts that are known, and the whole of it on a real cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.cluster_view import ConsumerGroup, Member, Partition
from stoker.operations.doctor.checks import examine, is_unreachable
from stoker.operations.doctor.cluster_checks import check_cluster, check_session
from stoker.operations.doctor.facts import Facts
from stoker.operations.doctor.findings import Finding, Verdict
from stoker.operations.doctor.queue_checks import check_queue
from stoker.operations.queue_status.offset_reading import OffsetReading
from stoker.operations.stored_jobs.dead_letter_counts import RecentDeadLetters
from stoker.operations.stored_jobs.stored_job import Ref, StoredJob
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.wire.headers import JOB_TYPE, TIME, format_instant
from support.scenes.shop_application import Shop, make_shop, open_shop

NOW = datetime(2013, 1, 31, 12, tzinfo=UTC)
PIPELINE = Pipeline("shop")
MAILS = PIPELINE.queue("mails", partitions=1, tiers=(timedelta(minutes=1),), retention=timedelta(days=7))
TIER = MAILS.retry_topics[timedelta(minutes=1)]
TOPICS = (MAILS.topic, TIER, MAILS.dead_topic, MAILS.ledger_topic)
WORKER = Member(client_id="w", host="h", partitions=1)
DAY_MS = 86_400_000


@PIPELINE.job(MAILS)
def send_mail(order_id: int) -> None:
    """Send a mail."""


def job(at: datetime = NOW, **headers: bytes) -> StoredJob:
    """A waiting job of a known type; names of headers are written with `_` for `-`."""
    named = {JOB_TYPE: b"send_mail", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return StoredJob(ref=Ref(0, 0), at=at, key=None, value=b"", raw_headers=list(named.items()))


def enqueued_at(instant: datetime) -> StoredJob:
    """A waiting job whose producer's clock said this."""
    return replace(job(), raw_headers=[(JOB_TYPE, b"send_mail"), (TIME, format_instant(instant))])


def facts(heads: Mapping[Partition, StoredJob | None] | None = None, **changes: object) -> Facts:
    """A healthy cluster with three brokers and one worker; each waiting job of `heads` is one record of lag."""
    heads = heads or {}
    every = [(topic, 0) for topic in TOPICS]
    reading = OffsetReading(
        taken_at_s=0.0,
        counts=dict.fromkeys(TOPICS, 1),
        starts=dict.fromkeys(every, 0),
        ends=dict.fromkeys(every, 10),
        committed={part: 9 if heads.get(part) else 10 for part in every},
    )
    limits = {"max.message.bytes": "1048588", "retention.ms": str(7 * DAY_MS), "min.insync.replicas": "2"}
    sound = Facts(
        now=NOW,
        brokers={1: "a:9092", 2: "b:9092", 3: "c:9092"},
        replicas=dict.fromkeys(TOPICS, (3, 3)),
        reading=reading,
        heads=heads,
        dead_heads={},
        recent_dead={},
        groups={MAILS.group: ConsumerGroup(name=MAILS.group, state="stable", protocol="consumer", members=(WORKER,))},
        topic_configs={
            **{topic: {**limits, "cleanup.policy": "delete"} for topic in TOPICS},
            MAILS.ledger_topic: {"cleanup.policy": "compact,delete"},
        },
        group_configs={MAILS.group: {"consumer.session.timeout.ms": "45000"}},
        broker_config={
            "group.coordinator.rebalance.protocols": "classic,consumer",
            "offsets.retention.minutes": "10080",
        },
    )
    return replace(sound, **changes)  # type: ignore[arg-type]  # each test names fields of Facts


def findings(found: Facts, cluster: ClusterSettings | None = None) -> list[Finding]:
    """What the checks make of the facts."""
    cluster = cluster or ClusterSettings(bootstrap_servers="a:9092")
    of_queue = [*check_queue(found, MAILS, PIPELINE), check_session(found, MAILS)]
    return [*check_cluster(found, cluster, PIPELINE), *of_queue]


def with_reading(**changes: object) -> Facts:
    """Healthy facts but for some offsets."""
    sound = facts()
    return replace(sound, reading=replace(sound.reading, **changes))  # type: ignore[arg-type]  # as above


def with_config(topic: str, **options: str) -> Facts:
    """Healthy facts but for a topic's options, written with `_` for `.`."""
    sound = facts()
    changed = {**sound.topic_configs[topic], **{name.replace("_", "."): value for name, value in options.items()}}
    return replace(sound, topic_configs={**sound.topic_configs, topic: changed})


def without_workers(heads: Mapping[Partition, StoredJob | None] | None = None) -> Facts:
    """Healthy facts but for an empty group."""
    empty = ConsumerGroup(name=MAILS.group, state="empty", protocol="consumer", members=())
    return facts(heads, groups={MAILS.group: empty})


def test_a_healthy_cluster_has_nothing_to_mend() -> None:
    """With a waiting job to compare clocks by, each check of sound facts says kept."""
    found = findings(facts({(MAILS.topic, 0): job()}))
    assert [finding for finding in found if finding.verdict is not Verdict.KEPT] == []
    assert {"P1", "P2", "P3", "P4", "P6", "P8", "P10"} <= {finding.guarantee for finding in found}


@pytest.mark.parametrize("endless", ["-1", str(2**63 - 1)])
def test_an_old_job_is_in_no_danger_where_nothing_is_deleted(endless: str) -> None:
    """Kafka knows two ways of writing that a topic keeps its records for ever."""
    topics = facts().topic_configs.items()
    configs = {topic: {**held, "retention.ms": endless} for topic, held in topics}
    found = findings(replace(facts({MAIN: job(NOW - timedelta(days=30))}), topic_configs=configs))
    assert [one.observed for one in found if "has waited for" in one.observed and one.verdict is Verdict.KEPT] == [
        "the oldest job has waited for 30d, and records are never deleted"
    ]


MAIN = (MAILS.topic, 0)
RETRY = (TIER, 0)
CASES: dict[str, tuple[Callable[[], Facts], Verdict, str, str]] = {
    "jobs deleted unrun": (
        lambda: with_reading(committed={MAIN: 3}, starts=dict.fromkeys(facts().reading.starts, 5)),
        Verdict.BROKEN,
        "P1",
        "retention has deleted up to 2 jobs unrun",
    ),
    "offset past the end": (
        lambda: with_reading(committed={MAIN: 11}),
        Verdict.BROKEN,
        "P2",
        "past the end of shop.mails/0",
    ),
    "about to be deleted": (
        lambda: facts({MAIN: job(NOW - timedelta(days=6))}),
        Verdict.BROKEN,
        "P1",
        "has waited for 6d",
    ),
    "cut by size": (lambda: with_config(MAILS.topic, retention_bytes="1000"), Verdict.AT_RISK, "P1", "cut by size"),
    "compacted main": (
        lambda: with_config(MAILS.topic, cleanup_policy="compact"),
        Verdict.BROKEN,
        "P1",
        "shop.mails is compacted",
    ),
    "ledger not compacted": (
        lambda: with_config(MAILS.ledger_topic, cleanup_policy="delete"),
        Verdict.AT_RISK,
        "P3",
        "not compacted",
    ),
    "records too small": (
        lambda: with_config(TIER, max_message_bytes="300000"),
        Verdict.BROKEN,
        "P2",
        "takes smaller records",
    ),
    "unequal partitions": (
        lambda: with_reading(counts={**dict.fromkeys(TOPICS, 1), MAILS.ledger_topic: 2}),
        Verdict.BROKEN,
        "P4",
        "differ in partitions",
    ),
    "no worker": (lambda: without_workers({MAIN: job()}), Verdict.BROKEN, "P10", "1 job waits and no worker runs"),
    "no worker, no job": (without_workers, Verdict.KEPT, "P10", "no worker runs, and no job waits"),
    "overdue": (
        lambda: facts({RETRY: job(stoker_due=format_instant(NOW - timedelta(minutes=3)))}),
        Verdict.BROKEN,
        "P6",
        "overdue by 3m",
    ),
    "due soon": (
        lambda: facts({RETRY: job(stoker_due=format_instant(NOW + timedelta(minutes=3)))}),
        Verdict.KEPT,
        "P6",
        "no retry is overdue",
    ),
    "unknown type": (
        lambda: facts({RETRY: replace(job(), raw_headers=[(JOB_TYPE, b"new_one")])}),
        Verdict.AT_RISK,
        "P9",
        "does not know: new_one",
    ),
    "dying now": (
        lambda: facts(recent_dead={MAILS.dead_topic: RecentDeadLetters(died=7, open=4, oldest_open=NOW)}),
        Verdict.AT_RISK,
        "P10",
        "7 new dead letters in the last hour, 4 of them open",
    ),
    "died and fixed": (
        lambda: facts(recent_dead={MAILS.dead_topic: RecentDeadLetters(died=7, open=0, oldest_open=None)}),
        Verdict.KEPT,
        "P10",
        "7 new dead letters in the last hour, all of them replayed or discarded since",
    ),
    "too many to count": (
        lambda: facts(recent_dead={MAILS.dead_topic: None}),
        Verdict.UNKNOWN,
        "P10",
        "the new dead letters were not counted",
    ),
    "dead letters expire": (
        lambda: facts(
            recent_dead={MAILS.dead_topic: RecentDeadLetters(died=0, open=0, oldest_open=NOW - timedelta(days=29))}
        ),
        Verdict.AT_RISK,
        "P1",
        "the oldest open dead letters are deleted in 1d",
    ),
    "of very many, some expire": (
        lambda: facts(
            dead_heads={(MAILS.dead_topic, 0): job(NOW - timedelta(days=29))},
            recent_dead={MAILS.dead_topic: RecentDeadLetters(died=0, open=0, oldest_open=None, is_whole=False)},
        ),
        Verdict.AT_RISK,
        "P1",
        "open or not, are deleted in 1d",
    ),
    "one replica": (lambda: facts(replicas=dict.fromkeys(TOPICS, (1, 1))), Verdict.AT_RISK, "P1", "one replica"),
    "one replica confirms": (
        lambda: with_config(MAILS.topic, min_insync_replicas="1"),
        Verdict.AT_RISK,
        "P1",
        "one replica is enough",
    ),
    "replicas behind": (
        lambda: facts(replicas={**dict.fromkeys(TOPICS, (3, 3)), TIER: (3, 2)}),
        Verdict.AT_RISK,
        "P1",
        "behind",
    ),
    "old brokers": (
        lambda: facts(broker_config={"offsets.retention.minutes": "10080"}),
        Verdict.AT_RISK,
        "P8",
        "classic",
    ),
    "untold": (lambda: facts(broker_config={}), Verdict.UNKNOWN, "P8", "does not show its configuration"),
    "forgotten groups": (
        lambda: facts(broker_config={"offsets.retention.minutes": "1440"}),
        Verdict.AT_RISK,
        "P3",
        "forgotten after 1d",
    ),
    "broker ahead": (
        lambda: facts({MAIN: job(NOW + timedelta(seconds=9))}),
        Verdict.BROKEN,
        "P6",
        "brokers' clock is 9 s ahead",
    ),
    "producer ahead": (
        lambda: facts({MAIN: enqueued_at(NOW + timedelta(seconds=8))}),
        Verdict.BROKEN,
        "P6",
        "producer's clock is 8 s ahead",
    ),
    "slow session": (
        lambda: facts(group_configs={MAILS.group: {"consumer.session.timeout.ms": "120000"}}),
        Verdict.AT_RISK,
        "P8",
        "after 2m",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_fact_is_found(case: str) -> None:
    """Each way in which a guarantee can fail from outside has a finding with its verdict, and what to do about it."""
    make, verdict, guarantee, observed = CASES[case]
    found = [finding for finding in findings(make()) if observed in finding.observed]
    assert [(finding.verdict, finding.guarantee) for finding in found] == [(verdict, guarantee)]
    assert verdict in (Verdict.KEPT, Verdict.UNKNOWN) or found[0].fix


FIXES = {
    "offset past the end": "start a worker if none runs: it goes on at the first record that is there",
    "unknown type": "until then they are deferred, and dead letters after 7 days",
}


@pytest.mark.parametrize("case", FIXES)
def test_a_fix_follows_what_workers_do(case: str) -> None:
    """It names what happens by itself, and asks for nothing that would run jobs of other partitions again."""
    make, _, _, observed = CASES[case]
    (found,) = [finding for finding in findings(make()) if observed in finding.observed]
    assert FIXES[case] in found.fix
    assert "delete" not in found.fix


@pytest.mark.parametrize(
    ("options", "guarantee"),
    [({"acks": "1"}, "P1"), ({"enable.idempotence": False}, "P1"), ({"enable.auto.commit": "true"}, "P2")],
)
def test_options_that_weaken_a_guarantee_are_found(options: dict[str, str | bool], guarantee: str) -> None:
    """An option from the environment that would take acknowledgements away is named."""
    weak = ClusterSettings(bootstrap_servers="a:9092", options=options)
    [found] = [finding for finding in findings(facts(), weak) if finding.verdict is Verdict.BROKEN]
    assert found.guarantee == guarantee
    assert next(iter(options)) in found.observed


def test_a_queue_without_topics_is_one_finding() -> None:
    """Before the topology is applied, the doctor does not list what follows from it."""
    [found] = check_queue(with_reading(counts={}), MAILS, PIPELINE)
    assert found.observed == "none of its topics exist"


def mark_of(line: str) -> str:
    """The mark at the head of a printed finding."""
    return line.strip()[:1]


def test_a_real_cluster_is_reported_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings
) -> None:
    """Topics as declared are kept; jobs that wait without a worker break P10, and the line beneath says what to run."""
    shop = open_shop(tmp_path, monkeypatch, namespace, cluster)
    assert verdicts(shop, "P10", "mails") == {"kept"}
    assert shop.stoker("enqueue", "send_mail", "order_id=1").exit_code == ExitCode.OK
    result = shop.stoker("doctor")
    assert result.exit_code == ExitCode.FINDING
    lines = result.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if "1 job waits" in line)
    assert mark_of(lines[at]) == "✗"
    assert "stoker worker --queue mails" in lines[at + 1]
    assert [line for line in lines if mark_of(line) == "✗"] == [lines[at]]
    assert "✓" not in shop.stoker("doctor", "--problems").stdout


def verdicts(shop: Shop, guarantee: str, place: str) -> set[str]:
    """What the doctor says of a guarantee in a place, with exit code 0."""
    result = shop.stoker("doctor", "--json")
    assert result.exit_code == ExitCode.OK, result.output
    found = json.loads(result.stdout)["findings"]
    return {finding["verdict"] for finding in found if (finding["guarantee"], finding["place"]) == (guarantee, place)}


def test_missing_topics_are_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings
) -> None:
    """Before the topology is applied, the doctor says which topics are missing and what makes them."""
    pipeline = make_shop(tmp_path, monkeypatch, namespace).pipeline
    found = [finding for finding in examine(pipeline, cluster, timeout_s=60.0) if finding.verdict is Verdict.BROKEN]
    assert any(f"{namespace}.mails" in finding.observed for finding in found)
    assert not [finding for finding in found if "stoker topology" not in finding.fix]


def test_an_unreachable_cluster_leaves_the_guarantees_unknown(shop_down: Shop) -> None:
    """Nothing is claimed about a cluster that does not answer; the exit code says so too, and the output stays JSON."""
    result = shop_down.stoker("doctor", "--json", "--timeout", "1s")
    assert result.exit_code == ExitCode.UNREACHABLE
    counts = json.loads(result.stdout)["counts"]
    assert (counts["broken"], counts["kept"]) == (1, 0)
    assert counts["unknown"] == 10


@pytest.fixture
def shop_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> Shop:
    """An application whose cluster is down."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    return shop


def test_a_broken_queue_is_not_an_unreachable_cluster() -> None:
    """Only the first finding of the cluster stands for its silence."""
    assert not is_unreachable(findings(facts()))
    assert not is_unreachable([])
