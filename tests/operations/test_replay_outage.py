"""A replay outlives the loss of its broker, or ends with an error after which starting again is safe."""

from __future__ import annotations

import pytest

from dead_letter_bench import Bench, Grave, open_bench
from stoker.operations import pacing
from stoker.operations.broker import EmbeddedBroker
from stoker.operations.desk_errors import DeskError
from stoker.operations.pacing import Pace, Published
from stoker.operations.payloads import PayloadDesk
from stoker.operations.selection import Selection
from stoker.operations.settling import Replaying, Request, Settlement
from stoker.topology import ClusterSettings

LETTERS = 60


def settlement_of(bench: Bench) -> Settlement:
    """A replay with unchanged payloads."""
    treatment = Replaying(bench.queue, PayloadDesk(bench.pipeline, bench.store))
    return Settlement(bench.pipeline, bench.cluster, bench.queue, treatment)


@pytest.mark.timeout(240)
@pytest.mark.expected_errors("TXN", "Connect", "FATAL", "fenced", "epoch", "coordinator", "transaction")
def test_a_broker_killed_in_the_middle_of_a_replay_doubles_and_loses_nothing(
    broker: EmbeddedBroker, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker dies by SIGKILL after a batch and comes back; in the end each job is in its queue exactly once."""
    monkeypatch.setattr(pacing, "MAX_BATCH_UNITS", 10)
    bench = open_bench(ClusterSettings(bootstrap_servers=broker.start()), namespace)
    bench.bury(Grave(order=order) for order in range(LETTERS))
    kills = iter([broker.kill])

    def kill_once(_published: Published) -> None:
        for kill in kills:
            kill()
            broker.start()

    settlement, request = settlement_of(bench), Request(selection=Selection())
    try:
        settlement.carry_out(request, settlement.forecast(request), Pace(), kill_once)
    except DeskError:
        again = Request(selection=Selection())
        settlement.carry_out(again, settlement.forecast(again), Pace())
    assert bench.replayed_ids() == {f"job-{order}": 1 for order in range(LETTERS)}
