"""A dead-letter desk that is killed, fenced or stopped publishes no letter twice and loses none."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from dead_letter_bench import Bench, Grave, open_bench
from stoker.operations import pacing
from stoker.operations.desk_errors import Fenced
from stoker.operations.dispositions import is_disposition
from stoker.operations.pacing import Pace, Published
from stoker.operations.payloads import PayloadDesk
from stoker.operations.selection import Selection
from stoker.operations.settling import Replaying, Request, Settlement
from stoker.topology import ClusterSettings

LETTERS = 130
SCRIPT = Path(__file__).parents[1] / "desk_under_fire.py"


@pytest.fixture
def bench(cluster: ClusterSettings, namespace: str) -> Bench:
    """A queue with dead letters."""
    bench = open_bench(cluster, namespace)
    bench.bury(Grave(order=order) for order in range(LETTERS))
    return bench


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one transaction for a replay."""
    monkeypatch.setattr(pacing, "MAX_BATCH_UNITS", 20)


def settlement_of(bench: Bench) -> Settlement:
    """A replay with unchanged payloads."""
    treatment = Replaying(bench.queue, PayloadDesk(bench.pipeline, bench.store))
    return Settlement(bench.pipeline, bench.cluster, bench.queue, treatment)


def replay_all(bench: Bench) -> Published:
    """Replay every open letter to the end."""
    settlement, request = settlement_of(bench), Request(selection=Selection())
    return settlement.carry_out(request, settlement.forecast(request), Pace())


def run_until_halted(bench: Bench, *arguments: str) -> Generator[str, None, None]:
    """Start a desk, yield the lines it says, and kill it with SIGKILL when the caller has heard enough."""
    command = [sys.executable, str(SCRIPT), bench.cluster.bootstrap_servers, bench.pipeline.namespace, *arguments]
    desk = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert desk.stdin is not None
    assert desk.stdout is not None
    try:
        yield from (line.strip() for line in desk.stdout)
    finally:
        desk.kill()
        desk.wait(20)
        desk.stdin.close()
        desk.stdout.close()


def kill_at(bench: Bench, batch: int, place: str) -> None:
    """Kill a replay with SIGKILL in its nth transaction (the first one holds the audit record)."""
    desk = run_until_halted(bench, "dead", "-", str(batch), place)
    assert next(desk) == place
    desk.close()


def test_a_replay_killed_again_and_again_publishes_each_letter_once(bench: Bench) -> None:
    """SIGKILL between produce and commit, and after commit, several times: every job is in the queue exactly once."""
    for batch, place in ((2, "produced"), (3, "produced"), (2, "committed"), (1, "produced"), (4, "produced")):
        kill_at(bench, batch, place)
    last = replay_all(bench)

    # committed before the kills: none, one batch of 20, one of 20, none, two of 20
    assert last.units == LETTERS - 4 * 20
    assert bench.replayed_ids() == {f"job-{order}": 1 for order in range(LETTERS)}
    settled = sum(map(is_disposition, bench.records(bench.queue.dead_topic)))
    assert settled == LETTERS


@pytest.mark.expected_errors("fenced", "old epoch")
def test_a_second_desk_shuts_the_first_one_out(bench: Bench, small_batches: None) -> None:
    """When two replays of a queue run at once, the older ends with a clear error and nothing is doubled."""
    first, request = settlement_of(bench), Request(selection=Selection())
    forecast = first.forecast(request)
    seconds = iter([replay_all])

    def begin_another(_published: Published) -> None:
        for replay in seconds:
            assert replay(bench).units == LETTERS - 20

    with pytest.raises(Fenced, match="taken over"):
        first.carry_out(request, forecast, Pace(), begin_another)
    assert set(bench.replayed_ids().values()) == {1}
    assert len(bench.replayed_ids()) == LETTERS


def test_a_stopped_replay_ends_with_a_whole_batch_and_the_next_one_goes_on(bench: Bench, small_batches: None) -> None:
    """A stop between batches leaves whole batches, and says that it stopped."""
    settlement, request, stop = settlement_of(bench), Request(selection=Selection()), threading.Event()

    stopped = settlement.carry_out(request, settlement.forecast(request), Pace(stop=stop), lambda published: stop.set())
    assert stopped.is_stopped
    assert stopped.units == 20
    assert replay_all(bench).units == LETTERS - 20
    assert set(bench.replayed_ids().values()) == {1}
