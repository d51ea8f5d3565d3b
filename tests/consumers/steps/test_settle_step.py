"""The step *settle*: it goes in the order in which nothing is settled before what it rests upon."""

from __future__ import annotations

from typing import cast

import pytest

from stoker.consumers.job.failure import describe_failure
from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.records.outcomes import DONE, Cancelled, Dead, Outcome, Retried
from stoker.consumers.records.record import Record
from stoker.consumers.settling.excuse import Excuse
from stoker.consumers.settling.settle import Settler
from stoker.consumers.steps.pipe import SettleStep
from support.scenes.deliveries import NOW, TIERS, declare

FAILURE = describe_failure("work", ValueError("broken"))


@pytest.mark.parametrize(
    "outcome",
    [
        DONE,
        Cancelled(reason="discarded", detail="not needed"),
        Retried(due=NOW, tier=TIERS[0], next_attempt=2, failure=FAILURE),
        Dead(reason="permanent", failure=FAILURE),
    ],
)
def test_the_settler_has_an_outcome_before_a_twin_of_its_record_can_be_skipped_for_it(outcome: Outcome) -> None:
    """Else the twin is settled first, and a commit passes the record of which nothing is written yet."""
    delivery = declare()
    record, ledger = delivery.record(), delivery.step_context.ledgers[0]

    class Asking:
        """A settler that looks into the ledger."""

        known: bool | None = None

        def hand_in(self, record: Record, _outcome: Outcome) -> None:
            """Look."""
            self.known = ledger.remembers(record)

    settler, lanes = Asking(), KeyLanes(lambda _records: None)
    lanes.add([record])
    settle_step = SettleStep(delivery.step_context, lanes, cast(Settler, settler), Excuse(delivery.queue))
    settle_step.settle(record, outcome)
    assert settler.known is False
    assert ledger.remembers(record)
