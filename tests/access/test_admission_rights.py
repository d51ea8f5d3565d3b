"""Producers learn how full a queue is with the right that is documented for it; without it, they send their jobs."""

from __future__ import annotations

import pytest

from stoker.producers import Producer
from stoker.producers.admission import admission as module
from stoker.producers.errors import QueueFull
from stoker.topology import Pipeline, ensure_topology
from stoker.topology.planning.rights import Duty, Resource, rights_for
from support.kafka.duties import PRINCIPAL, USER, acls
from support.kafka.guarded_broker import Guarded


@pytest.mark.expected_errors("uthorization failed", "Kafka forbids")
@pytest.mark.parametrize("may_ask", [True, False])
def test_a_producer_asks_with_the_right_for_it(
    guarded: Guarded, namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, may_ask: bool
) -> None:
    """`topology rights` prints it for an application that declares `max_waiting`."""
    monkeypatch.setattr(module, "UNREAD_S", 30.0)
    pipeline = Pipeline(namespace)

    @pipeline.job(pipeline.queue("work", partitions=1, max_waiting=1))
    def do() -> None: ...

    ensure_topology(pipeline, guarded.administrator)
    rights = rights_for(Duty.PRODUCER, pipeline)
    if not may_ask:
        rights = [right for right in rights if right.resource is not Resource.GROUP]
    with guarded.granted(PRINCIPAL, acls(rights)), Producer(pipeline, guarded.user(USER)) as producer:
        producer.enqueue(do)
        if may_ask:
            with pytest.raises(QueueFull):
                producer.enqueue(do)
        else:
            producer.enqueue(do)
            assert f"Describe on group {namespace}.work" in caplog.text
