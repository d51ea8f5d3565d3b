"""The rules of planning, as tables over imagined clusters."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from stoker.topology import Allowed, Concurrency, Group, Pipeline, UnknownName
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.planning.findings import DeleteTier, GrowTopic, Plan, SetConfig
from stoker.topology.planning.inventory import Inventory, TopicState
from stoker.topology.planning.plan import check_names, plan_for
from support.scenes.declarations import TIERS, as_declared, cluster_with, shop, with_config

MAIN = "shop.mails"
DELAYS = [f"{MAIN}.delay.{name}" for name in ("short", "medium", "long")]
CARRIED = f"{MAIN}.carried"
QUEUE_TOPICS = [
    MAIN, f"{MAIN}.retry.5s", f"{MAIN}.retry.1m", *DELAYS, CARRIED,
    f"{MAIN}.dead", f"{MAIN}.ledger", f"{MAIN}.progress",
]  # fmt: skip
SHARED_TOPICS = [f"shop.{name}" for name in ("schemas", "events", "control", "workers", "audit", "schedules", "stats")]
MAILS = frozenset({"mails"})


def _by_group(planned: Plan) -> dict[str, list[str]]:
    return {group.value: [found.topic for found in planned.of(group)] for group in Group if planned.of(group)}


def test_an_empty_cluster_gets_every_topic() -> None:
    """All topics of the queue and of the pipeline are to be created, each with the declared partitions."""
    planned = plan_for(shop(), Inventory(topics={}))
    assert _by_group(planned) == {"create": [*QUEUE_TOPICS, *SHARED_TOPICS]}
    assert "2 partitions" in planned.of(Group.CREATE)[0].line()


def test_a_cluster_as_declared_needs_nothing() -> None:
    """Where all is as declared there is no finding at all."""
    pipeline = shop()
    planned = plan_for(pipeline, Inventory(topics=as_declared(pipeline)))
    assert planned.findings == ()
    assert planned.is_empty
    assert planned.summary() == "shop: the cluster is as declared"


def test_a_schema_registry_replaces_the_schemas_topic() -> None:
    """With a registry no schemas topic is wanted, and one that is there is nobody's drift."""
    pipeline = shop()
    topics = as_declared(pipeline)
    assert plan_for(pipeline, Inventory(topics=topics), with_schemas=False).findings == ()
    without = {name: state for name, state in topics.items() if name != "shop.schemas"}
    assert plan_for(pipeline, Inventory(topics=without), with_schemas=False).findings == ()


@pytest.mark.parametrize(
    ("counts", "allowed", "expected"),
    [
        # A half-done apply: the main topic is right already, so no key moves, and the others follow.
        ({"retry_5s": 1, "ledger": 1}, Allowed(), {"change": [f"{MAIN}.retry.5s", f"{MAIN}.ledger"]}),
        # Keys would move: one finding for the queue as a whole.
        ({"main": 1}, Allowed(), {"refused": [MAIN]}),
        ({"main": 1, "retry_5s": 1, "retry_1m": 1, "dead": 1, "ledger": 1}, Allowed(), {"refused": [MAIN]}),
        # Allowed, they grow together; another queue's permission does not count.
        ({"main": 1, "dead": 1}, Allowed(repartition=MAILS), {"change": [MAIN, f"{MAIN}.dead"]}),
        ({"main": 1}, Allowed(repartition=frozenset({"others"})), {"refused": [MAIN]}),
        # Kafka cannot shrink, whatever is allowed.
        ({"main": 3}, Allowed(repartition=MAILS), {"refused": [MAIN]}),
        ({"retry_1m": 3}, Allowed(repartition=MAILS), {"refused": [f"{MAIN}.retry.1m"]}),
        # A missing topic waits until it is settled with how many partitions the queue goes on.
        ({"main": 1, "ledger": 0}, Allowed(), {"refused": [f"{MAIN}.ledger", MAIN]}),
        ({"main": 1, "ledger": 0}, Allowed(repartition=MAILS), {"create": [f"{MAIN}.ledger"], "change": [MAIN]}),
        ({"retry_5s": 1, "ledger": 0}, Allowed(), {"create": [f"{MAIN}.ledger"], "change": [f"{MAIN}.retry.5s"]}),
        ({"main": 0, "dead": 1}, Allowed(), {"refused": [MAIN, MAIN]}),
    ],
)
def test_partition_counts(counts: dict[str, int], allowed: Allowed, expected: dict[str, list[str]]) -> None:
    """What is done about counts other than the declared two: follow the main topic, refuse, or grow when allowed."""
    pipeline = shop()
    planned = plan_for(pipeline, cluster_with(as_declared(pipeline), **counts), allowed)
    assert _by_group(planned) == expected


def test_the_flag_that_allows_a_repartition_is_named() -> None:
    """The refusal says why, and with which option for which queue it would be done; shrinking has no such option."""
    pipeline = shop()
    (more,) = plan_for(pipeline, cluster_with(as_declared(pipeline), main=1)).refused
    assert more.flag == "--allow-repartition mails"
    assert "keys move" in more.line()
    (fewer,) = plan_for(pipeline, cluster_with(as_declared(pipeline), main=3)).refused
    assert fewer.flag is None
    assert "Kafka cannot take partitions away: declare partitions=3" in fewer.line()


def test_the_main_topic_is_marked_to_grow_last() -> None:
    """A record in a new partition of the main topic must find its tiers and ledger, so apply can tell it apart."""
    pipeline = shop()
    planned = plan_for(pipeline, cluster_with(as_declared(pipeline), main=1, dead=1), Allowed(repartition=MAILS))
    growing = [step for step in planned.steps if isinstance(step, GrowTopic)]
    assert [(step.topic, step.partitions, step.is_main) for step in growing] == [
        (MAIN, 2, True),
        (f"{MAIN}.dead", 2, False),
    ]


WEEK_MS, DAY_MS = "604800000", "86400000"


@pytest.mark.parametrize(
    ("topic", "config", "found", "group"),
    [
        (MAIN, "retention.ms", DAY_MS, Group.CHANGE),  # kept longer from now on: loses nothing
        (MAIN, "retention.ms", "999999999999", Group.REFUSED),
        (MAIN, "retention.ms", "-1", Group.REFUSED),  # -1 is for ever, the longest of all
        (f"{MAIN}.dead", "retention.ms", "-1", Group.REFUSED),
        (f"{MAIN}.ledger", "retention.ms", "-1", Group.CHANGE),  # outside its window a ledger is of no use
        ("shop.events", "retention.ms", "-1", Group.REFUSED),
        (MAIN, "cleanup.policy", "compact", Group.CHANGE),
        (f"{MAIN}.ledger", "cleanup.policy", "delete", Group.CHANGE),
        (f"{MAIN}.ledger", "cleanup.policy", "delete,compact", None),  # Kafka does not keep the order
        (MAIN, "max.message.bytes", "1000", Group.CHANGE),
        (MAIN, "max.message.bytes", "9000000", Group.DRIFT),  # larger than needed does no harm
        (MAIN, "message.timestamp.type", "CreateTime", Group.CHANGE),
        (MAIN, "compression.type", "zstd", Group.DRIFT),  # not declared, so not ours to undo
    ],
)
def test_configs(topic: str, config: str, found: str, group: Group | None) -> None:
    """What is done about one config that is not as declared."""
    pipeline = shop()
    topics = as_declared(pipeline)
    planned = plan_for(pipeline, Inventory(topics={**topics, topic: with_config(topics[topic], config, found)}))
    assert [(finding.topic, finding.setting, finding.group) for finding in planned.findings] == (
        [(topic, config, group)] if group else []
    )


@pytest.mark.parametrize(("topic", "owner"), [(MAIN, "mails"), ("shop.events", "events")])
def test_shorter_retention_is_done_when_its_owner_is_named(topic: str, owner: str) -> None:
    """The permission of the queue, or of the events, turns the refusal into a change."""
    pipeline = shop()
    topics = as_declared(pipeline)
    inventory = Inventory(topics={**topics, topic: with_config(topics[topic], "retention.ms", "-1")})
    (refused,) = plan_for(pipeline, inventory).refused
    assert refused.flag == f"--allow-shorter-retention {owner}"
    assert "retention.ms unlimited, declared 7d" in refused.line()
    planned = plan_for(pipeline, inventory, Allowed(shorter_retention=frozenset({owner})))
    assert planned.steps == (SetConfig(topic=topic, name="retention.ms", value=WEEK_MS),)


@pytest.mark.parametrize("endless", ["-1", str(2**63 - 1)])
def test_a_topic_that_forgets_nothing_is_planned_for(endless: str) -> None:
    """Kafka knows two ways of writing it; a declared retention would delete records, so it is refused."""
    topics = as_declared(shop())
    topics[MAIN] = with_config(topics[MAIN], "retention.ms", endless)
    (refused,) = plan_for(shop(), Inventory(topics=topics)).refused
    assert (refused.topic, refused.found, refused.declared) == (MAIN, "unlimited", "7d")


def test_each_shorter_retention_can_be_allowed_by_the_name_that_its_flag_gives() -> None:
    """Also of the pipeline's own topics, the shares of limits among them."""
    pipeline = shop(limits=[Concurrency(2)])
    topics = {
        name: with_config(state, "retention.ms", "-1") if "retention.ms" in state.configs else state
        for name, state in as_declared(pipeline).items()
    }
    refused = plan_for(pipeline, Inventory(topics=topics)).refused
    assert f"{pipeline.namespace}.shares" in {one.topic for one in refused}
    allowed = Allowed(shorter_retention=frozenset(str(one.flag).split()[1] for one in refused))
    check_names(pipeline, allowed)
    assert not plan_for(pipeline, Inventory(topics=topics), allowed).refused


def test_copies_are_compared_only_when_they_are_declared() -> None:
    """A declared replication that is not met is drift, with the tool that fixes it; None leaves it to the cluster."""
    (found, *_) = plan_for(shop(replication=3), Inventory(topics=as_declared(shop()))).of(Group.DRIFT)
    assert (found.setting, found.found, found.declared) == ("replication", "1", "3")
    assert "kafka-reassign-partitions" in found.line()
    topics = {name: replace(state, replication=3) for name, state in as_declared(shop()).items()}
    assert plan_for(shop(), Inventory(topics=topics)).findings == ()


def test_three_copies_want_two_in_sync() -> None:
    """With three replicas two must have a record; with fewer the cluster's default holds."""
    assert as_declared(shop(replication=3))[MAIN].configs["min.insync.replicas"] == "2"
    assert "min.insync.replicas" not in as_declared(shop(replication=2))[MAIN].configs


@pytest.mark.parametrize(
    ("waiting", "allowed", "group", "deletes"),
    [
        (0, Allowed(), Group.UNMANAGED, False),
        (3, Allowed(), Group.REFUSED, False),
        (3, Allowed(tier_removal=MAILS), Group.UNMANAGED, False),
        (0, Allowed(empty_tier_deletion=True), Group.CHANGE, True),
        (3, Allowed(empty_tier_deletion=True), Group.REFUSED, False),
        (3, Allowed(empty_tier_deletion=True, tier_removal=MAILS), Group.UNMANAGED, False),
    ],
)
def test_a_removed_tier(waiting: int, allowed: Allowed, group: Group, deletes: bool) -> None:
    """Its removal is refused while jobs wait there, and only an empty one is ever deleted, on demand."""
    topics = as_declared(shop())
    inventory = Inventory(topics=topics, waiting={f"{MAIN}.retry.1m": waiting})
    planned = plan_for(shop(tiers=TIERS[:1]), inventory, allowed)
    assert _by_group(planned) == {group.value: [f"{MAIN}.retry.1m"]}
    assert planned.steps == ((DeleteTier(topic=f"{MAIN}.retry.1m", group=MAIN),) if deletes else ())
    assert f"{waiting} jobs wait" in planned.findings[0].line()


@pytest.mark.parametrize(
    ("waiting", "allowed", "group"),
    [
        (3, Allowed(), Group.REFUSED),
        (3, Allowed(empty_tier_deletion=True), Group.REFUSED),
        (3, Allowed(tier_removal=MAILS), Group.UNMANAGED),
        (0, Allowed(empty_tier_deletion=True), Group.UNMANAGED),
    ],
)
def test_a_removed_priority(waiting: int, allowed: Allowed, group: Group) -> None:
    """No worker reads what waits there, so its removal is refused until it is drained; apply never deletes it."""
    before = shop(priorities={"high": 5, "normal": 1})
    planned = plan_for(shop(), Inventory(topics=as_declared(before), waiting={f"{MAIN}.high": waiting}), allowed)
    assert _by_group(planned) == {group.value: [f"{MAIN}.high"]}
    assert planned.steps == ()
    assert ("3 jobs wait in it" in planned.findings[0].line()) == bool(waiting)


def test_a_delay_topic_that_is_none_of_the_queue_is_no_less_than_a_removed_tier() -> None:
    """Another version may have left it behind: jobs that wait there would be read by no worker."""
    pipeline, topic = shop(), f"{MAIN}.delay.endless"
    topics = {**as_declared(pipeline), topic: TopicState(partitions=2, replication=1)}
    planned = plan_for(pipeline, Inventory(topics=topics, waiting={topic: 3}))
    assert _by_group(planned) == {"refused": [topic]}
    assert "delay topic that is not declared any more; 3 jobs wait in it" in planned.findings[0].line()


def test_topics_of_waiting_jobs_that_are_missing_are_created() -> None:
    """As after an update to a version that has them."""
    pipeline = shop()
    topics = {name: state for name, state in as_declared(pipeline).items() if name not in (*DELAYS, CARRIED)}
    assert _by_group(plan_for(pipeline, Inventory(topics=topics))) == {"create": [*DELAYS, CARRIED]}


def test_topics_that_nothing_declares_are_reported() -> None:
    """A topic of the namespace that belongs to no declared queue is shown, and never touched."""
    pipeline = shop()
    stranger = TopicState(partitions=1, replication=1)
    topics = {**as_declared(pipeline), "shop.gone": stranger, "shop.mails.notes": stranger}
    planned = plan_for(pipeline, Inventory(topics=topics))
    assert _by_group(planned) == {"unmanaged": ["shop.gone", "shop.mails.notes"]}
    assert planned.is_empty


def test_the_largest_job_type_decides_how_large_a_record_may_be() -> None:
    """The main topic takes the largest payload and its headers; where it goes later, those of a failure as well."""
    pipeline = Pipeline("shop")
    files = pipeline.queue("files", tiers=TIERS)

    @pipeline.job(files, max_payload_bytes=4 * 1024 * 1024)
    def store(content: bytes) -> None: ...

    sizes = {name: state.configs.get("max.message.bytes") for name, state in as_declared(pipeline).items()}
    large, allowance = 4 * 1024 * 1024, 64 * 1024
    assert sizes["shop.files"] == str(large + allowance)
    assert {name for name, size in sizes.items() if size == str(large + 2 * allowance)} == {
        "shop.files.retry.5s",
        "shop.files.retry.1m",
        *(f"shop.files.delay.{name}" for name in DelayClass),
        "shop.files.carried",
        "shop.files.dead",
    }
    assert as_declared(shop())[MAIN].configs["max.message.bytes"] == "1048588"


def test_a_ledger_remembers_whole_hours() -> None:
    """The ledger's topic keeps at least the window's age: 90 minutes become two hours."""
    from stoker.topology import LedgerWindow

    states = as_declared(shop(ledger=LedgerWindow(age=timedelta(minutes=90))))
    assert states[f"{MAIN}.ledger"].configs["retention.ms"] == str(2 * 3_600_000)


@pytest.mark.parametrize(
    "allowed",
    [
        Allowed(repartition=frozenset({"nails"})),
        Allowed(shorter_retention=frozenset({"nails"})),
        Allowed(tier_removal=frozenset({"nails"})),
    ],
)
def test_a_permission_for_an_unknown_queue_is_an_error(allowed: Allowed) -> None:
    """A misspelt queue must not silently allow nothing."""
    with pytest.raises(UnknownName, match="did you mean mails"):
        check_names(shop(), allowed)


def test_a_plan_as_data() -> None:
    """The JSON has each group as a list, empty ones included, and each finding with its two values."""
    pipeline = shop()
    topics = as_declared(pipeline)
    changed = {**topics, MAIN: with_config(topics[MAIN], "retention.ms", DAY_MS)}
    told = plan_for(pipeline, Inventory(topics=changed)).to_json()
    assert told == {
        "namespace": "shop",
        "create": [],
        "change": [
            {
                "topic": MAIN,
                "queue": "mails",
                "setting": "retention.ms",
                "found": "1d",
                "declared": "7d",
                "reason": "apply sets it",
                "flag": None,
            }
        ],
        "drift": [],
        "refused": [],
        "unmanaged": [],
        "refused_schemas": [],
    }
