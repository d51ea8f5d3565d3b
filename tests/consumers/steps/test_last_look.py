"""The last look before a handler is called has one answer for each order that may have come since the claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from stoker.consumers.gates.gate_row import Beginning, GateRow
from stoker.consumers.gates.pauses import Pause, Pauses
from stoker.consumers.records.cancellation import Cancellation
from stoker.consumers.records.outcomes import INTERRUPTED, Cancelled
from stoker.consumers.records.record import Record
from stoker.consumers.runners.slots import Slot
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.consumers.steps.last_look import hold_back
from stoker.consumers.steps.results import HeldBack, Raised
from stoker.consumers.steps.steps import DecodedJob, StepContext, decode
from support.scenes.deliveries import declare

BY_ANA = Cancellation(operator="ana")
CANCELLED = HeldBack(Cancelled(reason="cancelled", detail="it was cancelled before it ran, by ana", by=BY_ANA))


@dataclass
class Scene:
    """A job in its slot, whose handler is about to be called."""

    cancels: Cancels = field(default_factory=Cancels)
    row: GateRow = field(default_factory=GateRow)
    slot: Slot = field(default_factory=Slot)
    context: StepContext = field(init=False)
    job: DecodedJob = field(init=False)

    def __post_init__(self) -> None:
        """Begin the run."""
        self.pauses = Pauses(self.row)
        self.row.add([self.pauses])
        delivery = declare()
        self.context = replace(delivery.step_context, cancels=self.cancels, gates=self.row)
        job = decode(delivery.record(), self.context)
        assert isinstance(job, DecodedJob)
        self.job = job
        self.slot.begin(job.run, job.job_type.run_limits)

    def cancel(self) -> None:
        """Ana cancels it."""
        self.cancels.begin_job("job-1", BY_ANA)

    def pause(self) -> None:
        """Its queue is paused."""
        self.pauses.begin(Pause("q"))

    def lose(self) -> None:
        """Its partition is given away."""
        self.job.record.assignment.leave()

    def time_out(self) -> None:
        """The watchdog has found its run already."""
        self.job.run.interrupt_reason = "timeout"


def shown(held: HeldBack | Raised | None) -> object:
    """What a run ends by: its error's class, or what its runner has decided."""
    match held:
        case Raised(error):
            return type(error)
        case HeldBack():
            return held
        case None:
            return "begins"


@pytest.mark.parametrize(
    ("orders", "answer", "waiting"),
    [
        ([], "begins", 0),
        ([Scene.lose], "begins", 0),  # whoever gives it away waits for the run
        ([Scene.time_out], "begins", 0),  # no gate counts runs: the interrupt ends this one
        ([Scene.time_out, Scene.pause], "begins", 0),
        ([Scene.cancel], CANCELLED, 0),
        ([Scene.cancel, Scene.pause], CANCELLED, 0),
        ([Scene.pause], HeldBack(None), 1),
        ([Scene.pause, Scene.lose], HeldBack(INTERRUPTED), 0),
    ],
)
def test_each_order_before_a_begin_has_one_answer(
    orders: Sequence[Callable[[Scene], None]], answer: object, waiting: int
) -> None:
    """And only what is to come again waits at the gates."""
    scene = Scene()
    for give in orders:
        give(scene)
    assert shown(hold_back(scene.job, scene.slot, scene.context)) == answer
    assert scene.row.view.count == waiting


def test_a_job_that_is_cancelled_while_a_gate_looks_at_it_is_cancelled() -> None:
    """The gate does not keep it, and it does not come again."""
    scene = Scene(row=GateRow(is_cancelled=lambda _record: scene.cancels.stands))
    begin = scene.row.begin

    def cancel_before(record: Record) -> Beginning:
        scene.cancel()
        return begin(record)

    scene.pause()
    scene.row.begin = cancel_before  # type: ignore[method-assign]
    assert shown(hold_back(scene.job, scene.slot, scene.context)) == CANCELLED
    assert scene.row.view.count == 0
