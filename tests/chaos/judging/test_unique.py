"""Each way in which uniqueness is broken in a fabricated account is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.judging.account import Account, Strike
from chaos.judging.unique import check_unique, count_superfluous
from chaos.notes import OK, Run
from chaos.plan import UNIQUE, JobPlan

PLANS = {number: JobPlan(number, UNIQUE, "unique-1", 0) for number in range(1, 5)}


def run(number: int, start_s: float) -> Run:
    """A run of two seconds."""
    place = f"chaos.unique/0/{number}"
    return Run(number, 1, 101, place, place, start_s, start_s + 2, OK)


WHOLE = Account(
    plans=PLANS,
    runs=[run(1, 10.0), run(3, 20.0)],
    confirmed=dict.fromkeys(PLANS, 1),
    arrived={1: [9.9], 2: [11.0], 3: [19.0], 4: [19.5]},
    strikes=[],
    dead_letters=[],
)
JUMP = Strike(kind="jump_clock", after=0, begin_s=15.0, end_s=16.0)


def rules(account: Account) -> list[str]:
    """Which guarantees it shows broken."""
    return [finding.rule for finding in check_unique(account, account.runs_by_job())]


def test_a_whole_account_shows_nothing() -> None:
    """The second came while the first ran, the fourth while the third waited."""
    assert rules(WHOLE) == []
    assert count_superfluous(WHOLE, WHOLE.runs_by_job()) == 2


@pytest.mark.parametrize(
    ("account", "found"),
    [
        pytest.param(replace(WHOLE, runs=[*WHOLE.runs, run(2, 12.0)]), ["unique"], id="it came while the first ran"),
        pytest.param(replace(WHOLE, runs=WHOLE.runs[:1]), ["lost", "lost"], id="the first had ended long before"),
        pytest.param(replace(WHOLE, runs=WHOLE.runs[1:]), ["lost", "lost"], id="a later one is no excuse"),
        pytest.param(replace(WHOLE, arrived={1: [9.9], 2: [11.0], 3: [19.0]}), ["lost"], id="it is on no topic"),
        pytest.param(
            replace(WHOLE, runs=[*WHOLE.runs, run(2, 12.0)], arrived={**WHOLE.arrived, 2: [11.0, 12.5]}),
            list[str](),
            id="a second record of a duplicate may run",
        ),
        pytest.param(replace(WHOLE, runs=WHOLE.runs[:1], strikes=[JUMP]), list[str](), id="the clock was moved"),
    ],
)
def test_a_broken_account_is_found(account: Account, found: list[str]) -> None:
    """A duplicate that ran, and a job that nobody has made one."""
    assert rules(account) == found
