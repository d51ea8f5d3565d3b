"""A replay of dead letters that is killed, fenced or stopped publishes no dead letter twice and loses none."""

from __future__ import annotations

import threading

import pytest

from stoker.operations.replay import pacing
from stoker.operations.replay.dead_letter_replay import DeadLetterManager, Request
from stoker.operations.replay.pacing import Published, ReplayPace
from stoker.operations.replay.transactions import TransactionalPublisher
from stoker.operations.replay.units import Outgoing, Unit
from stoker.operations.stored_jobs.dispositions import is_disposition
from stoker.operations.stored_jobs.errors import Fenced
from stoker.operations.stored_jobs.selection import Selection
from stoker.topology import ClusterSettings
from support.scenes.dead_letters import Bench, DeadJob, open_bench
from support.scenes.killed_replay import lines_until_killed

DEAD_LETTERS = 130


@pytest.fixture
def bench(cluster: ClusterSettings, namespace: str) -> Bench:
    """A queue with dead letters."""
    bench = open_bench(cluster, namespace)
    bench.add_dead(DeadJob(order=order) for order in range(DEAD_LETTERS))
    return bench


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one transaction for a replay."""
    monkeypatch.setattr(pacing, "MAX_BATCH_UNITS", 20)


def settlement_of(bench: Bench) -> DeadLetterManager:
    """A replay with unchanged payloads."""
    treatment = bench.replaying()
    return DeadLetterManager(bench.pipeline, bench.cluster, bench.queue, treatment)


def replay_all(bench: Bench) -> Published:
    """Replay every open dead letter to the end."""
    manager, request = settlement_of(bench), Request(selection=Selection())
    return manager.carry_out(request, manager.forecast(request), ReplayPace())


def kill_at(bench: Bench, batch: int, place: str) -> None:
    """Kill a replay with SIGKILL in its nth transaction (the first one holds the audit record)."""
    replay_process = lines_until_killed(*bench.address, "dead", "-", str(batch), place)
    assert next(replay_process) == place
    replay_process.close()


def test_a_replay_killed_again_and_again_publishes_each_dead_letter_once(bench: Bench) -> None:
    """SIGKILL between produce and commit, and after commit, several times: every job is in the queue exactly once."""
    for batch, place in ((2, "produced"), (3, "produced"), (2, "committed"), (1, "produced"), (4, "produced")):
        kill_at(bench, batch, place)
    last = replay_all(bench)

    # committed before the kills: none, one batch of 20, one of 20, none, two of 20
    assert last.units == DEAD_LETTERS - 4 * 20
    assert bench.replayed_ids() == {f"job-{order}": 1 for order in range(DEAD_LETTERS)}
    settled = sum(map(is_disposition, bench.records(bench.queue.dead_topic)))
    assert settled == DEAD_LETTERS


@pytest.mark.expected_errors("fenced", "old epoch")
def test_a_second_desk_shuts_the_first_one_out(bench: Bench, small_batches: None) -> None:
    """When two replays of a queue run at once, the older ends with a clear error and nothing is doubled."""
    first, request = settlement_of(bench), Request(selection=Selection())
    forecast = first.forecast(request)
    seconds = iter([replay_all])

    def begin_another(_published: Published) -> None:
        for replay in seconds:
            assert replay(bench).units == DEAD_LETTERS - 20

    with pytest.raises(Fenced, match="taken over"):
        first.carry_out(request, forecast, ReplayPace(), begin_another)
    assert set(bench.replayed_ids().values()) == {1}
    assert len(bench.replayed_ids()) == DEAD_LETTERS


@pytest.mark.expected_errors("fenced", "old epoch")
def test_a_publisher_that_was_shut_out_says_so_wherever_it_learns_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the client knows, a record that is handed to it is answered with less than that; and it can be closed."""
    record = Outgoing(topic=bench.queue.topic, partition=0, key=None, value=b"any", headers=[])
    units = [Unit(label="one", records=(record,))]
    with TransactionalPublisher(bench.cluster, "desk") as first:
        with TransactionalPublisher(bench.cluster, "desk"), pytest.raises(Fenced):
            first.publish(units)
        monkeypatch.setattr(first, "_call", lambda *_: None)  # as where it learns of it amid a batch
        with pytest.raises(Fenced):
            first.publish(units)


def test_a_stopped_replay_ends_with_a_whole_batch_and_the_next_one_goes_on(bench: Bench, small_batches: None) -> None:
    """A stop between batches leaves whole batches, and says that it stopped."""
    manager, request, stop = settlement_of(bench), Request(selection=Selection()), threading.Event()

    stopped = manager.carry_out(request, manager.forecast(request), ReplayPace(stop=stop), lambda published: stop.set())
    assert stopped.is_stopped
    assert stopped.units == 20
    assert replay_all(bench).units == DEAD_LETTERS - 20
    assert set(bench.replayed_ids().values()) == {1}
