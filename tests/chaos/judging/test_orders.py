"""Each order that was not kept in a fabricated account is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.judging.account import Account
from chaos.judging.checks import check_outcomes
from chaos.judging.orders import check_orders
from chaos.notes import OK, Held, Run
from chaos.plan import JobPlan

WORKER = 101
NOBODY = frozenset[int]()
KINDS = ("tenanted", "refused", "filtered", "beyond", "beyond", "rescheduled", "light")
PLANS = {number: JobPlan(number, kind, None, 0) for number, kind in enumerate(KINDS, 1)}
"""Of the jobs that are due after the run, 4 is to be cancelled and 5 to wait."""


def run(number: int, start_s: float) -> Run:
    """A run of a tenth of a second."""
    place = f"chaos.steady/0/{number}"
    return Run(number, 1, WORKER, place, place, start_s, start_s + 0.1, OK)


WHOLE = Account(
    plans=PLANS,
    runs=[run(1, 1.0), run(2, 50.0), run(3, 60.0), run(6, 70.0), run(7, 80.0)],
    confirmed=dict.fromkeys(PLANS, 1),
    first_confirmed_s={number: 10.0 * number for number in PLANS},
    strikes=[],
    dead_letters=[],
    waiting=frozenset({4, 5}),
    cancelled=frozenset({4}),
    stamps={3: 1_000.0},
    given=[Held("reschedule", "job=6", NOBODY, 65.0), Held("discard", "type=refused", NOBODY, 15.0, 25.0)],
    held=[Held("cancel", "beyond=20", NOBODY, 90.0), Held("cancel", "filtered=999.0", NOBODY, 30.0)],
)


def rules(account: Account) -> set[str]:
    """Which guarantees about orders it shows broken."""
    by_job = account.runs_by_job()
    return {finding.rule for finding in (*check_orders(account), *check_outcomes(account, by_job))}


def test_a_whole_account_shows_nothing() -> None:
    """What is cancelled does not run, what is to wait waits, and all others end."""
    assert rules(WHOLE) == set()


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (Held("pause", "tenant=tenant-1", NOBODY, 0.5), {"paused"}),
        (Held("block", "tenant=tenant-2", NOBODY, 0.5), set[str]()),
        (Held("discard", "type=refused", NOBODY, 40.0), {"paused"}),
        (Held("discard", "type=refused", NOBODY, 40.0, 45.0), set[str]()),
        (Held("cancel", "filtered=1000.5", NOBODY, 30.0), {"cancelled"}),
        (Held("cancel", "filtered=1000.5", NOBODY, 60.0), set[str]()),
        (Held("cancel", "filtered=999.5", NOBODY, 30.0), set[str]()),
    ],
)
def test_a_run_that_an_answered_order_holds_back_is_found(held: Held, found: set[str]) -> None:
    """A tenant's, of a type that is blocked, or of one that was cancelled by a filter, enqueued before it."""
    assert rules(replace(WHOLE, held=[held])) == found


@pytest.mark.parametrize(
    ("account", "found"),
    [
        pytest.param(replace(WHOLE, given=WHOLE.given[1:]), {"early"}, id="nobody had rescheduled it"),
        pytest.param(replace(WHOLE, runs=[*WHOLE.runs, run(5, 85.0)]), {"early"}, id="it was to wait"),
        pytest.param(replace(WHOLE, waiting=frozenset()), {"lost"}, id="it does not wait any more"),
        pytest.param(replace(WHOLE, cancelled=frozenset()), {"lost"}, id="its cancel had no effect"),
        pytest.param(replace(WHOLE, runs=[*WHOLE.runs[:1], *WHOLE.runs[2:]]), {"lost"}, id="neither run nor cancelled"),
    ],
)
def test_a_job_that_is_due_after_the_run_waits_or_is_cancelled_or_begins_by_an_order(
    account: Account, found: set[str]
) -> None:
    """And what may be cancelled is, or runs."""
    assert rules(account) == found


@pytest.mark.parametrize(
    ("number", "confirmed_s", "found"),
    [
        pytest.param(7, 20.0, {"cancelled"}, id="a job that nobody has cancelled"),
        pytest.param(2, 20.0, set(), id="enqueued while its type was blocked"),
        pytest.param(2, 70.0, {"cancelled"}, id="enqueued long after that"),
        pytest.param(3, 70.0, set(), id="enqueued about the time of the order"),
        pytest.param(3, 170.0, {"cancelled"}, id="enqueued long after the order"),
    ],
)
def test_a_job_that_ends_as_cancelled_needs_an_order(number: int, confirmed_s: float, found: set[str]) -> None:
    """By its kind, and by when it was enqueued."""
    account = replace(
        WHOLE,
        cancelled=frozenset({4, number}),
        first_confirmed_s={**WHOLE.first_confirmed_s, number: confirmed_s},
        given=[*WHOLE.given, Held("cancel", "filter", NOBODY, 60.0)],
    )
    assert rules(account) == found
