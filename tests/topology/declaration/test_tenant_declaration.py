"""A tenant is declared as a key is, and a queue's routing by it is part of its topology."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.topology import Allowed, ClusterSettings, Group, InvalidDeclaration, Pipeline, TopologyRefused
from stoker.topology.declaration.catalogue import catalogue
from stoker.topology.declaration.labels import LabelNotFound
from stoker.topology.declaration.topics import ROUTE_MARK, declared_topics
from stoker.topology.planning.apply import ensure_topology
from stoker.topology.planning.findings import SetConfig
from stoker.topology.planning.inventory import Inventory, TopicState
from stoker.topology.planning.plan import plan, plan_for
from stoker.topology.planning.verify import TopologyMismatch, mismatches, verify
from support.scenes.declarations import as_declared, shop, with_config

MAIN = "shop.mails"
MAILS = frozenset({"mails"})


def bill(customer: str, line: int = 1) -> None:
    """Have two parameters."""


def declared(tenant: Any) -> Any:
    """A job type with that tenant."""
    pipeline = Pipeline("shop")
    return pipeline.job(pipeline.queue("mails"), tenant=tenant)(bill)


@pytest.mark.parametrize(
    ("tenant", "found"),
    [("customer", "acme"), ("line", "1"), (lambda customer, line: f"{customer}/{line}", "acme/1"), (None, None)],
)
def test_a_tenant_is_made_of_the_arguments(tenant: Any, found: str | None) -> None:
    """By a path or a function, as a key is; a job type without one leaves it to each call."""
    job_type = declared(tenant)
    assert job_type.call("acme").tenant == found
    assert job_type.call("acme").key is None
    assert job_type.with_options(tenant="other").call("acme").tenant == "other"


@pytest.mark.parametrize(
    ("tenant", "part"),
    [
        ("custom", "tenant 'custom' begins with 'custom', which is no parameter"),
        (lambda custom: custom, "tenant takes 'custom'"),
        (5, "tenant must be a function, or the path"),
    ],
)
def test_a_tenant_that_could_never_be_made_is_refused_at_declaration(tenant: Any, part: str) -> None:
    """The error names the tenant, and not the key."""
    with pytest.raises(InvalidDeclaration) as refused:
        declared(tenant)
    assert part in str(refused.value)


def test_a_tenant_function_that_raises_is_named() -> None:
    """The error names the tenant, and keeps the function's own as its cause."""
    call = declared(lambda customer: {"a": "b"}[customer]).call("x")
    with pytest.raises(LabelNotFound, match="the tenant could not be made: its function raised KeyError") as caught:
        _ = call.tenant
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_routing_that_does_not_exist_is_refused() -> None:
    """The error names the two that do."""
    with pytest.raises(InvalidDeclaration, match="route_by must be one of key, tenant; it is 'type'"):
        shop(route_by="type")  # type: ignore[arg-type]  # that is the point


def test_the_catalogue_shows_tenants_and_routing() -> None:
    """Of each job type how the tenant is made, of each queue how its jobs are routed."""
    pipeline = Pipeline("shop")
    pipeline.job(pipeline.queue("mails", route_by="tenant"), tenant="customer")(bill)
    (queue,) = catalogue(pipeline).queues
    assert (queue.route_by, queue.job_types[0].tenant, queue.job_types[0].key) == (
        "tenant",
        "by customer",
        "from each call",
    )


def routed(by: str) -> dict[str, TopicState]:
    """A cluster whose queue was applied with this routing."""
    return as_declared(shop(route_by="tenant" if by == "tenant" else "key"))


def test_a_queue_that_routes_by_key_has_no_mark() -> None:
    """So the topics of a queue without tenants are what they have always been."""
    assert _marked(shop()) == []
    assert _marked(shop(route_by="tenant")) == [MAIN]


def _marked(pipeline: Pipeline) -> list[str]:
    """The topics of queues that bear the mark."""
    specs = declared_topics(pipeline)
    return [spec.name for spec in specs if spec.owner in pipeline.queues and ROUTE_MARK in spec.configs]


@pytest.mark.parametrize(("before", "now"), [("key", "tenant"), ("tenant", "key")])
def test_another_routing_is_refused_until_it_is_allowed(before: str, now: str) -> None:
    """One finding names what has been, what is declared, and the flag; allowed, apply sets the mark."""
    pipeline = shop(route_by="tenant" if now == "tenant" else "key")
    inventory = Inventory(topics=routed(before))
    (refused,) = plan_for(pipeline, inventory).findings
    assert (refused.group, refused.topic, refused.setting) == (Group.REFUSED, MAIN, "routing")
    assert f"routing by {before}, declared by {now}: jobs move to other partitions" in refused.line()
    assert refused.flag == "--allow-reroute mails"
    assert plan_for(pipeline, inventory, Allowed(reroute=frozenset({"others"}))).refused
    (change,) = plan_for(pipeline, inventory, Allowed(reroute=MAILS)).findings
    assert (change.group, change.step) == (
        Group.CHANGE,
        SetConfig(topic=MAIN, name=ROUTE_MARK, value="1" if now == "tenant" else "0"),
    )


def test_a_default_of_the_brokers_is_no_mark() -> None:
    """Only what was set on the topic counts."""
    topics = routed("key")
    state = with_config(topics[MAIN], ROUTE_MARK, "1")
    unmarked = TopicState(
        partitions=state.partitions,
        replication=state.replication,
        configs=state.configs,
        overrides=topics[MAIN].overrides,
    )
    assert plan_for(shop(), Inventory(topics={**topics, MAIN: unmarked})).findings == ()


@pytest.mark.parametrize(
    ("before", "now"), [("key", "tenant"), ("tenant", "key"), ("key", "key"), ("tenant", "tenant")]
)
def test_workers_and_producers_do_not_start_with_another_routing(before: str, now: str) -> None:
    """Two routings at once would split the jobs of a key or tenant."""
    pipeline = shop(route_by="tenant" if now == "tenant" else "key")
    found = mismatches(list(pipeline.queues.values()), declared_topics(pipeline), Inventory(topics=routed(before)))
    if before == now:
        assert found == []
    else:
        assert found == [
            f"the jobs of topic {MAIN} are routed by {before}, declared is by {now}; "
            "`stoker topology apply --allow-reroute mails` fixes it, once the queue is drained"
        ]


def test_a_routing_is_kept_by_the_cluster(cluster: ClusterSettings, namespace: str) -> None:
    """On real brokers: applied, refused, allowed, and changed back; other drift is not seen in it."""
    ensure_topology(shop(namespace), cluster)
    by_tenant = shop(namespace, route_by="tenant")
    with pytest.raises(TopologyRefused, match="--allow-reroute mails"):
        ensure_topology(by_tenant, cluster)
    with pytest.raises(TopologyMismatch, match="are routed by key, declared is by tenant"):
        verify(by_tenant, cluster)
    ensure_topology(by_tenant, cluster, Allowed(reroute=MAILS))
    verify(by_tenant, cluster)
    assert plan(by_tenant, cluster).findings == ()
    ensure_topology(shop(namespace), cluster, Allowed(reroute=MAILS))
    assert plan(shop(namespace), cluster).findings == ()


def test_a_queue_that_is_new_routes_as_declared(cluster: ClusterSettings, namespace: str) -> None:
    """Nothing needs to be allowed where there are no jobs yet."""
    pipeline = shop(namespace, route_by="tenant")
    ensure_topology(pipeline, cluster)
    verify(pipeline, cluster)
    assert plan(pipeline, cluster).findings == ()
