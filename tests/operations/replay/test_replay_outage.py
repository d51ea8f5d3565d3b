"""A replay outlives the loss of its broker, or ends with an error after which starting again is safe."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, Message

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.operations.replay import pacing
from stoker.operations.replay.dead_letter_replay import DeadLetterManager, Request
from stoker.operations.replay.pacing import Published, ReplayPace
from stoker.operations.replay.transactions import TransactionalPublisher
from stoker.operations.stored_jobs.errors import StoredJobsError
from stoker.operations.stored_jobs.selection import Selection
from stoker.topology import ClusterSettings
from support.scenes.dead_letters import Bench, DeadJob, open_bench

DEAD_LETTERS = 60


def settlement_of(bench: Bench) -> DeadLetterManager:
    """A replay with unchanged payloads."""
    treatment = bench.replaying()
    return DeadLetterManager(bench.pipeline, bench.cluster, bench.queue, treatment)


@pytest.mark.timeout(240)
@pytest.mark.expected_errors("TXN", "Connect", "FATAL", "fenced", "epoch", "coordinator", "transaction")
def test_a_broker_killed_in_the_middle_of_a_replay_doubles_and_loses_nothing(
    broker: EmbeddedBroker, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker dies by SIGKILL after a batch and comes back; in the end each job is in its queue exactly once."""
    monkeypatch.setattr(pacing, "MAX_BATCH_UNITS", 10)
    bench = open_bench(ClusterSettings(bootstrap_servers=broker.start()), namespace)
    bench.add_dead(DeadJob(order=order) for order in range(DEAD_LETTERS))
    kills = iter([broker.kill])

    def kill_once(_published: Published) -> None:
        for kill in kills:
            kill()
            broker.start()

    manager, request = settlement_of(bench), Request(selection=Selection())
    try:
        manager.carry_out(request, manager.forecast(request), ReplayPace(), kill_once)
    except StoredJobsError:
        again = Request(selection=Selection())
        manager.carry_out(again, manager.forecast(again), ReplayPace())
    assert bench.replayed_ids() == {f"job-{order}": 1 for order in range(DEAD_LETTERS)}


def test_a_batch_of_which_one_record_is_only_guessed_to_be_stored_is_published_anew(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A report without an offset confirms nothing, so the transaction is undone, and the next one has each job once.

    No broker makes the client guess at will: one report of a real delivery is given without its offset.
    """
    note: Callable[..., None] = TransactionalPublisher._note_delivery
    guesses = iter([Message(topic="guessed", partition=0)])

    def note_one_as_guessed(self: TransactionalPublisher, error: KafkaError | None, message: Message) -> None:
        note(self, error, next(guesses, message))

    monkeypatch.setattr(TransactionalPublisher, "_note_delivery", note_one_as_guessed)
    bench = open_bench(cluster, namespace)
    bench.add_dead(DeadJob(order=order) for order in range(DEAD_LETTERS))
    manager, request = settlement_of(bench), Request(selection=Selection())
    with caplog.at_level(logging.WARNING, logger="stoker.operations.replay.transactions"):
        manager.carry_out(request, manager.forecast(request), ReplayPace())
    assert sum("aborted a batch" in line for line in caplog.messages) == 1
    assert bench.replayed_ids() == {f"job-{order}": 1 for order in range(DEAD_LETTERS)}
