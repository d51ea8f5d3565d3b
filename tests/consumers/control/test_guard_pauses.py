"""`GuardPauses`, without Kafka: the pause of a dead guard whose order is not on the topic yet."""

from __future__ import annotations

from typing import cast

import pytest
from confluent_kafka import KafkaError

from stoker.consumers.breakers.dead_guards import DeadGuards, TooManyDead
from stoker.consumers.control.guard_pauses import WRITE_AGAIN_S, GuardPauses
from stoker.consumers.control.own_orders import OwnOrder, OwnOrders
from stoker.consumers.control.pause_orders import PauseOrders
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.gates.pauses import Pauses


class Noted:
    """In place of the worker's `OwnOrders`: notes what it is to write."""

    def __init__(self) -> None:
        self.written: list[OwnOrder] = []

    def write(self, own: OwnOrder) -> None:
        """Note it."""
        self.written.append(own)


@pytest.mark.expected_errors("is paused for all workers")
def test_a_pause_that_is_not_written_yet_outlasts_a_rereading() -> None:
    """And its order is written again; one that is written, and comes no more, was ended by an operator."""
    gates, noted, now_s = {"mails": Pauses(GateRow())}, Noted(), 0.0
    standing = PauseOrders(gates)
    guards = GuardPauses(
        DeadGuards(), gates, standing, cast(OwnOrders, noted), lambda _event: None, "w1", clock=lambda: now_s
    )
    guards.trip(TooManyDead(job_type="mail", queue="mails", reason="too many"))
    guards.carry_out()
    noted.written[-1].on_answer(KafkaError(KafkaError._MSG_TIMED_OUT))
    for is_resting in (False, True):
        for taker in (standing, guards):
            taker.begin_rereading()
        for taker in (standing, guards):
            taker.end_rereading()
        assert gates["mails"].is_resting == is_resting
        now_s += WRITE_AGAIN_S
        guards.carry_out()
        assert len(noted.written) == 2
        noted.written[-1].on_answer(None)
