"""A queue's declared session timeout becomes its group's, and a cluster that allows no such one says what would."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stoker.consumers.kafka.clients import consumer_config
from stoker.consumers.kafka.group_protocol import CLASSIC_PROTOCOL, CONSUMER_PROTOCOL
from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.topology import ClusterSettings
from stoker.topology.cluster.admin import Administration
from stoker.topology.planning.apply import ApplyFailed, apply, ensure_topology
from stoker.topology.planning.findings import Group, SetGroupConfig
from stoker.topology.planning.group_settings import HEARTBEAT, SESSION, group_settings
from stoker.topology.planning.inventory import Inventory
from stoker.topology.planning.plan import plan, plan_for
from support.scenes.declarations import as_declared, shop
from support.waiting import wait_until

FOUR_SECONDS = timedelta(seconds=4)


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, {}),
        (timedelta(seconds=60), {SESSION: "60000"}),
        (timedelta(seconds=15), {SESSION: "15000"}),  # three heartbeats of the default, 5 s, fit
        (timedelta(seconds=12), {HEARTBEAT: "4000", SESSION: "12000"}),
        (FOUR_SECONDS, {HEARTBEAT: "1333", SESSION: "4000"}),
    ],
)
def test_three_heartbeats_fit_into_a_session(timeout: timedelta | None, expected: dict[str, str]) -> None:
    """The heartbeat is asked for only where the default would be too slow."""
    assert group_settings(shop(session_timeout=timeout).find_queue("mails")) == expected


def test_a_session_of_less_than_a_second_is_refused() -> None:
    """A worker that hesitates is not dead."""
    with pytest.raises(ValueError, match="session_timeout must be at least"):
        shop(session_timeout=timedelta(milliseconds=900))


def test_what_differs_is_a_change_and_brokers_without_such_settings_are_reported() -> None:
    """Apply sets what differs; before Kafka 4.0 there is nothing to set, so that is no reason to fail."""
    pipeline = shop(session_timeout=FOUR_SECONDS)
    topics, group = as_declared(pipeline), "shop.mails"
    held = Inventory(topics=topics, groups={group: {SESSION: "45000", HEARTBEAT: "1333"}})
    planned = plan_for(pipeline, held)
    assert planned.steps == (SetGroupConfig(group=group, name=SESSION, value="4000"),)
    assert "consumer.session.timeout.ms 45s, declared 4s" in planned.of(Group.CHANGE)[0].line()
    without = plan_for(pipeline, Inventory(topics=topics))
    assert without.steps == ()
    assert len(without.of(Group.DRIFT)) == 2


def test_apply_sets_it_once(cluster: ClusterSettings, namespace: str) -> None:
    """After apply it holds on the brokers, the next plan is empty, and a change by hand is seen and fixed."""
    pipeline = shop(namespace, session_timeout=FOUR_SECONDS)
    group = pipeline.find_queue("mails").group
    planned = ensure_topology(pipeline, cluster)
    assert len(planned.of(Group.CHANGE)) == 2
    administration = Administration(cluster)
    assert administration.group_configs([group])[group][SESSION] == "4000"
    assert plan(pipeline, cluster).findings == ()
    assert administration.set_group_configs({group: {SESSION: "9000"}}) == {}
    seen = wait_until(
        lambda: plan(pipeline, cluster) if plan(pipeline, cluster).findings else None, what="the change by hand"
    )
    applied = apply(seen, cluster)
    assert applied.configured == {f"group {group}": {SESSION: "4000"}}


def test_a_cluster_that_allows_no_such_session_names_the_option(broker: EmbeddedBroker, namespace: str) -> None:
    """The topics are made all the same; the message names what to set on the brokers."""
    own = EmbeddedBroker(broker.folder, server_settings={"group.consumer.min.session.timeout.ms": "30000"})
    settings = ClusterSettings(bootstrap_servers=own.start())
    pipeline = shop(namespace, session_timeout=FOUR_SECONDS)
    with pytest.raises(ApplyFailed, match=r"`group\.consumer\.min\.session\.timeout\.ms` is lowered"):
        apply(plan(pipeline, settings), settings)
    assert {finding.setting for finding in plan(pipeline, settings).findings} == {SESSION, HEARTBEAT}


def test_members_ask_for_it_themselves_where_the_group_cannot() -> None:
    """With the classic protocol it is the member's option; with the new one librdkafka would refuse it there."""
    queue, settings = shop(session_timeout=FOUR_SECONDS).find_queue("mails"), ClusterSettings(bootstrap_servers="a:1")
    classic = consumer_config(settings, queue, "w", CLASSIC_PROTOCOL)
    assert (classic["session.timeout.ms"], classic["heartbeat.interval.ms"]) == (4_000, 1_333)
    assert "session.timeout.ms" not in consumer_config(settings, queue, "w", CONSUMER_PROTOCOL)
