"""Whoever gets an error as an answer lets go of its client with the call."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from stoker.operations.cluster_view import ClusterView
from stoker.producers.admission.depth import KafkaDepth
from stoker.topology import ClusterSettings, ClusterUnreachable
from stoker.topology.cluster.admin import Administration
from stoker.topology.cluster.answers import wait_answer
from stoker.topology.cluster.stable_ends import StableEnds
from support.scenes.declarations import shop

ABSENT = "there-is-no-such-topic"


def administer(cluster: ClusterSettings) -> object:
    """Ask for a topic that is not there."""
    return Administration(cluster).topics([ABSENT])


def view(cluster: ClusterSettings) -> object:
    """Ask for the configs of a topic that is not there."""
    return ClusterView(cluster).topic_configs([ABSENT])


def await_end(cluster: ClusterSettings) -> object:
    """Wait for a record of a topic that is not there."""
    return StableEnds(cluster, client_id="tests").wait_past([TopicPartition(ABSENT, 0, 0)], 0.5)


def measure(cluster: ClusterSettings) -> object:
    """Ask for the depth of a queue that has no topics."""
    return KafkaDepth(cluster, shop(ABSENT).queues["mails"], 1).read()


@pytest.mark.parametrize("ask", [administer, view, await_end, measure])
def test_a_client_that_got_an_error_is_closed_with_the_call(
    cluster: ClusterSettings, ask: Callable[[ClusterSettings], object]
) -> None:
    """No garbage holds it: collected on the client's own thread, it would end the process."""
    gc.collect()
    gc.disable()
    before = count_clients()
    try:
        with suppress(KafkaException, ClusterUnreachable):
            ask(cluster)
        after = count_clients()
    finally:
        gc.enable()
    assert after == before


def count_clients() -> int:
    return sum(isinstance(each, AdminClient) for each in gc.get_objects())


def test_an_answer_that_does_not_come_is_an_error() -> None:
    """Its text is the caller's."""
    answer = wait_answer(Future[int](), time.monotonic(), "nobody is there")
    assert isinstance(answer, KafkaError)
    assert (answer.code(), answer.str()) == (KafkaError._TIMED_OUT, "nobody is there")


def test_an_error_of_another_kind_is_raised() -> None:
    """It is no answer of the cluster."""
    future = Future[int]()
    future.set_exception(ValueError("a fault"))
    with pytest.raises(ValueError, match="a fault"):
        wait_answer(future, time.monotonic())
