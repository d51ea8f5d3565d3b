"""The harness can fail: each broken guarantee in a fabricated account is found, and a whole account shows none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from chaos.fleet.logs import lost_partitions
from chaos.judging.account import LOST, Account, DeadLetter, Strike
from chaos.judging.recovery import recoveries
from chaos.judging.verdict import judge
from chaos.notes import CUT, FAILED, OK, SNOOZED, Held, Run
from chaos.plan import JobPlan

STEADY, STRICT, LATER = "steady-1", "strict-1", "later-1"
WORKER, OTHER = 101, 102
PLANS = {
    plan.number: plan
    for plan in (
        JobPlan(0, "light", STEADY, 0),
        JobPlan(1, "flaky", STEADY, 1),
        JobPlan(2, "light", STEADY, 0),
        JobPlan(3, "doomed", STEADY, 0),
        JobPlan(4, "effect", None, 0),
        JobPlan(5, "strict_flaky", STRICT, 2),
        JobPlan(6, "strict", STRICT, 0),
        JobPlan(7, "snoozing", STEADY, 0),
        JobPlan(8, "poison", STEADY, 0),
        JobPlan(9, "poison", STEADY, 7),
        JobPlan(10, "delayed", LATER, 900),
        JobPlan(11, "delayed", LATER, 300),
    )
}


def place(number: int, tier: str = "") -> str:
    """Where the record of a job stands: its number is its offset."""
    queue = "strict" if PLANS[number].kind.startswith("strict") else "steady"
    return f"chaos.{queue}{tier}/0/{number}"


def run(number: int, start_s: float, how: str | None = OK, *, attempt: int = 1, pid: int = WORKER) -> Run:
    """A run of a tenth of a second; beyond the first attempt from a retry tier."""
    at = place(number, ".retry.500ms" if attempt > 1 else "")
    return Run(number, attempt, pid, at, place(number), start_s, None if how is None else start_s + 0.1, how)


def attempts(number: int, start_s: float, *ends: str) -> list[Run]:
    """Runs of a job, one a second."""
    return [run(number, start_s + step, how, attempt=step + 1) for step, how in enumerate(ends)]


RUNS = [
    run(0, 0.0),
    *attempts(1, 0.2, FAILED, OK),
    run(2, 0.4),
    *attempts(3, 0.6, FAILED, FAILED, FAILED),
    run(4, 0.0),
    *attempts(5, 0.0, FAILED, FAILED, OK),
    run(6, 2.2),
    run(7, 0.8, SNOOZED),
    replace(run(7, 1.8), place=place(7, ".retry.500ms")),
    run(11, 0.3),
    run(10, 0.9),  # after the later record of its key, since it was due later
]
DEAD_LETTERS = [
    DeadLetter(number=3, reason="attempts-spent", origin=place(3), attempt=3, place="chaos.steady.dead/0/0"),
    DeadLetter(number=8, reason="undecodable", origin=place(8), attempt=1, place="chaos.steady.dead/0/1"),
]
WHOLE = Account(
    plans=PLANS,
    runs=RUNS,
    confirmed=dict.fromkeys(PLANS, 1),
    strikes=[],
    dead_letters=DEAD_LETTERS,
    waiting=frozenset({9}),
    effects={4: 1},
)


def rules(account: Account) -> set[str]:
    """Which guarantees an account shows broken."""
    in_order = replace(account, runs=sorted(account.runs, key=lambda one: one.start_s))
    return {finding.rule for finding in judge(in_order).findings}


def without(*numbers: int) -> list[Run]:
    """The runs of all other jobs."""
    return [one for one in RUNS if one.number not in numbers]


def kill(at_s: float, *pids: int) -> Strike:
    """A SIGKILL."""
    return Strike(kind="kill_workers", after=0, begin_s=at_s, end_s=at_s, pids=list(pids))


def test_a_whole_account_shows_nothing() -> None:
    """What went as planned makes no finding."""
    assert rules(WHOLE) == set()


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        pytest.param(without(0), {"lost"}, id="a job never ran"),
        pytest.param([*without(0), run(0, 0.0, None)], {"lost"}, id="its only run has no end"),
        pytest.param([*without(0), run(0, 0.0, CUT)], {"lost"}, id="its only run was cut short"),
        pytest.param([*without(1), run(1, 0.2, FAILED)], {"lost", "attempts"}, id="an attempt is missing at the end"),
        pytest.param([*without(7), run(7, 0.8, SNOOZED)], {"lost"}, id="a snoozed job never came back"),
        pytest.param(without(10), {"lost"}, id="a delayed job never began"),
    ],
)
def test_a_lost_job_is_found(runs: list[Run], found: set[str]) -> None:
    """A confirmed job without its outcome is lost, whatever else became of it."""
    assert rules(replace(WHOLE, runs=runs)) == found


def test_a_lost_effect_and_a_doubled_one_are_found() -> None:
    """An effect through the inbox is there once: neither never nor twice."""
    assert rules(replace(WHOLE, effects={4: 2})) == {"doubled"}
    assert rules(replace(WHOLE, effects={})) == {"lost"}
    assert rules(replace(WHOLE, effects={4: 1, 77: 1})) == {"doubled"}


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (Held("pause", "type=light", frozenset(), 0.2), {"paused"}),
        (Held("pause", "type=light", frozenset({WORKER}), 0.2), set[str]()),
        (Held("pause", "type=light", frozenset(), 0.35), set[str]()),
        (Held("pause", "type=light", frozenset(), 0.1, 0.39), set[str]()),
        (Held("block", f"key=steady:{STEADY}", frozenset(), 0.2), {"paused"}),
        (Held("pause", "queue=strict", frozenset(), 2.0, 2.5), {"paused"}),
        (Held("pause", "partition=steady:1", frozenset(), 0.0), set[str]()),
        (Held("quiet", f"worker=web-1-{OTHER}", frozenset(), 0.0), set[str]()),
        (Held("quiet", f"worker=web-1-{WORKER}", frozenset(), 0.0), {"paused"}),
        (Held("cancel", "below=12", frozenset(), 0.0), set[str]()),
    ],
)
def test_a_run_that_an_answered_order_holds_back_is_found(held: Held, found: set[str]) -> None:
    """From the answer on until it is about to be lifted, in the workers that have answered."""
    assert rules(replace(WHOLE, held=[held])) == found


def test_a_cancelled_job_that_runs_is_found_and_one_that_does_not_is_not_lost() -> None:
    """A run before the answer breaks nothing; one that is neither cancelled nor run is lost."""
    plans = PLANS | {12: JobPlan(12, "cancelled", "never-1", 900)}
    whole = replace(WHOLE, plans=plans, cancelled=frozenset({12}))
    held = [Held("cancel", "below=20", frozenset(), 1.0)]
    confirmed = dict.fromkeys(plans, 1)
    assert rules(replace(whole, confirmed=confirmed, held=held)) == set()
    assert rules(replace(whole, confirmed=confirmed, held=held, cancelled=frozenset())) == {"lost"}
    for start_s, found in ((0.5, set[str]()), (1.5, {"cancelled"})):
        late = Run(12, 1, WORKER, "chaos.steady/0/12", "chaos.steady/0/12", start_s, start_s + 0.1, OK)
        assert rules(replace(whole, runs=[*RUNS, late], held=held)) == found | {"unconfirmed"}


def test_an_order_without_its_trace_and_one_that_stands_at_the_end_are_found() -> None:
    """Order and trace are there both, or neither is."""
    assert rules(replace(WHOLE, audited=["o1"])) == {"audit"}
    assert rules(replace(WHOLE, standing=["o1"])) == {"audit", "paused"}
    assert rules(replace(WHOLE, standing=["o1"], audited=["o1"])) == {"paused"}


def test_a_job_that_was_never_confirmed_is_reported() -> None:
    """A run that did not get through its plan is no success."""
    assert rules(replace(WHOLE, confirmed={number: 1 for number in PLANS if number})) == {"unconfirmed"}


@pytest.mark.parametrize(
    ("dead_letters", "found"),
    [
        pytest.param(DEAD_LETTERS[1:], {"lost"}, id="a dead letter is missing"),
        pytest.param(
            [*DEAD_LETTERS, replace(DEAD_LETTERS[0], number=0)], {"dead letter"}, id="a job is dead that should not"
        ),
        pytest.param(
            [*DEAD_LETTERS, replace(DEAD_LETTERS[0], number=None)], {"dead letter"}, id="nobody's dead letter"
        ),
        pytest.param(
            [replace(DEAD_LETTERS[0], reason="malformed"), DEAD_LETTERS[1]], {"dead letter"}, id="another reason"
        ),
        pytest.param([*DEAD_LETTERS, DEAD_LETTERS[0]], {"dead letter"}, id="two of one last run"),
    ],
)
def test_dead_letters_are_exactly_those_expected(dead_letters: list[DeadLetter], found: set[str]) -> None:
    """None is missing, none is there beyond them, and each says why."""
    assert rules(replace(WHOLE, dead_letters=dead_letters)) == found


def test_poison_that_may_be_known_tomorrow_must_wait() -> None:
    """A record of an unknown type that is in no tier at the end is lost."""
    assert rules(replace(WHOLE, waiting=frozenset())) == {"lost"}


@pytest.mark.parametrize(
    "ends",
    [
        pytest.param([(1, FAILED), (3, OK)], id="a gap"),
        pytest.param([(1, FAILED), (2, FAILED), (3, OK)], id="one more than planned"),
        pytest.param([(2, OK)], id="no first one"),
    ],
)
def test_an_attempt_that_is_lost_or_invented_is_found(ends: list[tuple[int, str]]) -> None:
    """Attempts are 1, 2, 3 without a gap, and as many as the job has failures, and one."""
    runs = [run(1, 0.1 * attempt + 0.2, how, attempt=attempt) for attempt, how in ends]
    assert "attempts" in rules(replace(WHOLE, runs=[*without(1), *runs]))


def test_a_run_again_needs_a_fault_that_explains_it() -> None:
    """The same attempt twice is a finding; with the first process killed in time it is not, killed too late it is."""
    twice = replace(WHOLE, runs=[*RUNS, run(4, 9.0, pid=OTHER)])
    assert rules(twice) == {"re-run"}
    assert rules(replace(twice, strikes=[kill(0.5, WORKER)])) == set()
    assert rules(replace(twice, strikes=[kill(0.5, OTHER)])) == {"re-run"}
    assert rules(replace(twice, strikes=[kill(8.0, WORKER)])) == {"re-run"}


def test_a_zombies_run_again_is_explained_by_its_pause() -> None:
    """A process that stood still past its session explains the runs that it had begun, at that time and no other."""
    pause = Strike(kind="pause_worker", after=0, begin_s=0.05, end_s=6.0, pids=[WORKER])
    twice = replace(WHOLE, runs=[*without(4), replace(run(4, 0.0), end_s=6.1), run(4, 5.0, pid=OTHER)])
    assert rules(replace(twice, strikes=[pause])) == set()
    assert rules(replace(twice, strikes=[replace(pause, begin_s=50.0, end_s=56.0)])) == {"re-run"}


def test_a_run_again_is_explained_where_its_worker_has_lost_the_partition() -> None:
    """By its log, for want of a processor; the loss of another partition, or at another time, explains nothing."""
    lost = Strike(kind=LOST, after=0, begin_s=0.05, end_s=6.0, places=["chaos.steady/0"])
    twice = replace(WHOLE, runs=[*without(4), replace(run(4, 0.0), end_s=6.1), run(4, 5.0, pid=OTHER)])
    assert rules(twice) == {"re-run"}
    assert rules(replace(twice, strikes=[lost])) == set()
    assert rules(replace(twice, strikes=[replace(lost, begin_s=50.0, end_s=56.0)])) == {"re-run"}
    short = replace(WHOLE, runs=[*RUNS, run(4, 5.0, pid=OTHER)])
    assert rules(replace(short, strikes=[lost])) == set()
    assert rules(replace(short, strikes=[replace(lost, places=["chaos.steady/1", "chaos.strict/0"])])) == {"re-run"}


def test_losses_are_read_from_the_logs_of_workers(tmp_path: Path) -> None:
    """At the time of the machine's clock, also where the worker's was moved."""
    at = datetime(2026, 11, 29, 14, 0, 0, tzinfo=UTC)
    behind_s = at.timestamp() - 1_000.0
    lines = [
        {"ts": moment.isoformat(), "message": message, "queue": "steady", "partitions": [1, 3]}
        for moment, message in [
            (at, "partitions lost: [1, 3]; this worker holds none"),
            (at, "partitions revoked: [1, 3]; this worker holds none"),
            (at + timedelta(seconds=70), "partitions lost: [1, 3]; this worker holds none"),
        ]
    ]
    (tmp_path / "fleet0.log").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    jump = Strike(kind="jump_clock", after=0, begin_s=1_048.0, end_s=1_052.0, detail="by +20.0 s")
    found = list(lost_partitions(tmp_path, behind_s, [jump]))
    assert [(one.kind, one.places) for one in found] == [(LOST, ["chaos.steady/1", "chaos.steady/3"])] * 2
    assert [one.end_s for one in found] == pytest.approx([1_000.0, 1_050.0])


def test_a_late_run_is_explained_by_a_move_of_its_partition() -> None:
    """A job that outlasts the grace may run again elsewhere, if a fault made partitions move; a short one may not."""
    moved = kill(0.5, 999)
    late = [*without(4), replace(run(4, 0.0), end_s=8.0), run(4, 5.0, pid=OTHER)]
    assert rules(replace(WHOLE, runs=late)) == {"re-run"}
    assert rules(replace(WHOLE, runs=late, strikes=[moved])) == set()
    assert rules(replace(WHOLE, runs=[*RUNS, run(4, 1.0, pid=OTHER)], strikes=[moved])) == {"re-run"}


def test_a_job_that_ends_its_child_explains_its_own_run_again_and_no_other() -> None:
    """A child's death is the job's that ran in it; that of a whole worker explains whatever was in flight there."""
    plans = {**PLANS, 10: JobPlan(10, "stumbling", None, 0)}
    dying = Run(10, 1, WORKER, "chaos.rough/0/0", "chaos.rough/0/0", 0.5, child=500)
    again = replace(dying, child=501, start_s=2.0, end_s=2.1, how=OK)
    stumbled = replace(WHOLE, plans=plans, confirmed=dict.fromkeys(plans, 1), runs=[*RUNS, dying, again])
    assert rules(stumbled) == set()
    bystander = [*stumbled.runs, run(4, 5.0, pid=OTHER)]
    assert rules(replace(stumbled, runs=bystander)) == {"re-run"}
    whole_worker = [replace(one, child=0) for one in bystander]
    assert rules(replace(stumbled, runs=whole_worker)) == set()


def test_a_job_is_not_put_away_before_children_have_died_under_it() -> None:
    """One death is no proof."""
    plans = {**PLANS, 10: JobPlan(10, "exiting", None, 0)}
    dying = [Run(10, 1, WORKER, "chaos.rough/0/0", "chaos.rough/0/0", at, child=500) for at in (0.5, 2.0, 4.0)]
    dead_letter = DeadLetter(
        number=10, reason="quarantined", origin="chaos.rough/0/0", attempt=1, place="chaos.rough.dead/0/0"
    )
    put_away = replace(WHOLE, plans=plans, confirmed=dict.fromkeys(plans, 1), dead_letters=[*DEAD_LETTERS, dead_letter])
    assert rules(replace(put_away, runs=[*RUNS, *dying])) == set()
    assert rules(replace(put_away, runs=[*RUNS, dying[0]])) == {"quarantine"}


def test_first_runs_out_of_order_are_found() -> None:
    """Jobs of a key begin in the order of their records."""
    assert rules(replace(WHOLE, runs=[*without(2), run(2, 0.1)])) == {"order"}


def test_the_strict_queue_waits_for_the_end_of_the_job_before() -> None:
    """What the default order allows, passing a job that waits for its retry, the strict one does not."""
    assert rules(replace(WHOLE, runs=[*without(6), run(6, 0.5)])) == {"strict order"}
    passed = [*without(2), run(2, 0.25)]
    assert rules(replace(WHOLE, runs=passed)) == {"overlap"}, "the order of first runs is kept"


def test_two_jobs_of_a_key_at_once_are_found() -> None:
    """Jobs of one key run one at a time, in whichever process; a long one that was moved is excused."""
    long = [*without(0, 2), replace(run(0, 0.0), end_s=4.0), run(2, 2.0, pid=OTHER)]
    others = [one for one in long if one.number in (0, 2, 4, 5, 6)]
    account = replace(
        WHOLE,
        plans={number: PLANS[number] for number in (0, 2, 4, 5, 6)},
        confirmed=dict.fromkeys((0, 2, 4, 5, 6), 1),
        runs=others,
        dead_letters=[],
    )
    assert rules(account) == {"overlap"}
    same = replace(account, runs=[replace(one, pid=WORKER) for one in others], strikes=[kill(0.5, OTHER)])
    assert rules(same) == {"overlap"}


@pytest.mark.parametrize(("struck_s", "found"), [(0.5, set[str]()), (45.0, {"overlap"})])
def test_a_long_job_may_outlast_what_moved_its_partition(struck_s: float, found: set[str]) -> None:
    """Its new owner begins the next of the key long after the fault, when its own run has ended; a later one excuses
    nothing."""
    storm = replace(kill(struck_s, OTHER), kind="storm_rebalances", pids=[])
    account = replace(
        WHOLE,
        plans={number: PLANS[number] for number in (0, 2)},
        confirmed=dict.fromkeys((0, 2), 1),
        runs=[replace(run(0, 0.0), end_s=40.0), run(2, 35.0, pid=OTHER)],
        dead_letters=[],
        strikes=[storm],
    )
    assert {rule for rule in rules(account) if rule == "overlap"} == found


def test_a_process_that_ended_on_its_own_is_found() -> None:
    """A worker process that no fault ended is a finding."""
    assert rules(replace(WHOLE, ended={WORKER: "exit code 1"})) == {"died"}
    assert rules(replace(WHOLE, ended={WORKER: "killed by SIGKILL"}, strikes=[kill(9.0, WORKER)])) == set()


def steady_runs(seconds: Iterable[float]) -> list[Run]:
    """Jobs that take no time, one at each moment."""
    return [Run(number, 1, WORKER, f"q/0/{number}", f"q/0/{number}", at, at, OK) for number, at in enumerate(seconds)]


def test_the_time_to_recover_is_from_the_fault_to_the_full_rate() -> None:
    """A rate of 100 a second that stops at 20 s and goes on at 26 s has recovered after 6 s."""
    ends = [tick / 100 for tick in range(6_000) if not 2_000 <= tick < 2_600]
    [found] = recoveries(steady_runs(ends), [kill(20.0, WORKER)], until_at_s=60.0)
    assert found.seconds == pytest.approx(6.0, abs=0.3)
    assert found.is_alone


def test_a_rate_that_never_falls_needs_no_recovery_and_one_that_never_rises_has_none() -> None:
    """Nothing happened: 0. It stays away: not recovered."""
    steady = [tick / 100 for tick in range(18_000)]
    assert all(later > earlier for earlier, later in pairwise(steady))
    [calm] = recoveries(steady_runs(steady), [kill(20.0, WORKER)], until_at_s=60.0)
    assert calm.seconds == 0
    [gone] = recoveries(steady_runs(steady[:9_500]), [kill(90.0, WORKER)], until_at_s=100.0)
    assert gone.seconds is None
