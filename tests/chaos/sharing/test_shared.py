"""Each broken guarantee of limits, priorities, fairness and bounds in a fabricated account is found."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.judging.account import Account, Strike
from chaos.judging.verdict import judge
from chaos.notes import OK, Held, Run
from chaos.plan import JobPlan
from chaos.sharing.ledger import CONFIRMED, KNOWN, REFUSED, UNKNOWN, Asked, Shared, Turn, read_asked, wait_ended
from chaos.sharing.limits import WINDOW_S, uses
from chaos.sharing.streams import FLOOD, MAX_WAITING, PER_S, USUAL, Sizes, guarantees
from chaos.sharing.verdict import judge_shared
from support.waiting import wait_until

BEGIN_S, LENGTH_S = 1_000.0, 40.0
LATE_S = 5_000.0
SEEN = (BEGIN_S + LENGTH_S - 2, 1e9)
"""From then on nothing is judged: the machine is busy."""
WORKER = 101
TENANTS, KEYS = [f"t-{number}" for number in range(4)], [f"k-{number}" for number in range(4)]


def turn(job_type: str, scope: str, number: int, start_s: float, length_s: float = 0.01, *, key: str = "") -> Turn:
    """A run at the one worker; the number is the offset, and its job has a key of its own unless one is given."""
    place = f"chaos.{job_type}/0/{number}"
    return Turn(
        f"{scope}-{number}",
        job_type,
        scope,
        key or f"key-{scope}{number}",
        place,
        WORKER,
        start_s,
        start_s + length_s,
        OK,
    )


def row(job_type: str, scope: str, every_s: float, length_s: float = 0.01, after_s: float = 0.0) -> list[Turn]:
    """One run after the other; the offsets of rows that begin at other moments differ."""
    first = int(after_s * 1_000) * 10_000
    return [
        turn(job_type, scope, first + number, BEGIN_S + after_s + number * every_s, length_s)
        for number in range(int(LENGTH_S / every_s))
    ]


def late(job_type: str, scopes: Sequence[str], number: int = 200) -> list[Turn]:
    """Runs long after all others, of jobs that wait until then."""
    return [turn(job_type, scope, -1 - n, LATE_S + 10 * n) for scope in scopes for n in range(number)]


def confirmed(turns: Iterable[Turn], at_s: float = BEGIN_S - 50) -> list[Asked]:
    """Their jobs, confirmed long before."""
    return [Asked(CONFIRMED, one.job_id, one.job_type, one.scope, at_s, at_s) for one in turns]


def account(turns: Iterable[Turn], others: Iterable[Asked] = ()) -> Shared:
    """These runs, and what was asked beside their jobs."""
    in_order = sorted(turns, key=lambda one: one.start_s)
    asked = sorted([*confirmed(in_order), *others], key=lambda one: one.at_s)
    return Shared(asked=asked, turns=in_order, busy=[SEEN])


FLEET = [*row("fleet_rated", "f-0", 0.052), *late("fleet_rated", ["f-0"])]
TENANT = [one for scope in TENANTS for one in [*row("tenant_rated", scope, 0.26), *late("tenant_rated", [scope])]]
BOUND = [
    one
    for scope in KEYS
    for one in [
        *(run for at_s in (0.0, 0.2) for run in row("key_bound", scope, 0.41, 0.4, at_s)),
        *late("key_bound", [scope]),
    ]
]
WHOLE = account([*FLEET, *TENANT, *BOUND])


def rules(shared: Shared) -> set[str]:
    """Which guarantees it shows broken."""
    return {finding.rule for finding in judge_shared(shared).findings}


def with_turns(*more: Turn) -> Shared:
    """The whole account with some runs more."""
    return account([*WHOLE.turns, *more])


def kill(at_s: float, kind: str = "kill_coordinator") -> Strike:
    """A SIGKILL."""
    return Strike(kind=kind, after=0, begin_s=at_s, end_s=at_s, pids=[WORKER])


def test_a_whole_account_shows_nothing_and_all_of_each_limit_is_used() -> None:
    """What went as declared makes no finding."""
    assert rules(WHOLE) == set()
    shares = {use.guarantee.job_type: use.share for use in uses(WHOLE)}
    assert all(shares[name] > 0.95 for name in ("fleet_rated", "tenant_rated", "key_bound"))


@pytest.mark.parametrize(
    ("more", "found"),
    [
        pytest.param([turn("fleet_rated", "f-1", n, BEGIN_S + 5 + n / 100) for n in range(2)], {"limit"}, id="a rate"),
        pytest.param([turn("fleet_rated", "f-1", 1, BEGIN_S + LENGTH_S + 5)], set(), id="a job more in another window"),
        pytest.param([turn("tenant_rated", "t-1", 9_999, BEGIN_S + 5.1)], {"limit"}, id="the rate of one tenant"),
        pytest.param([turn("tenant_rated", "t-9", 1, BEGIN_S + 5.1)], set(), id="another tenant"),
        pytest.param([turn("key_bound", "k-2", 9_999, BEGIN_S + 5.0, 0.2)], {"limit"}, id="three at once of a key"),
        pytest.param(
            [turn("resource_bound", f"r-{n}", n, BEGIN_S + n / 100, 0.2) for n in range(5)], {"limit"}, id="a resource"
        ),
    ],
)
def test_more_than_a_limit_allows_is_found(more: list[Turn], found: set[str]) -> None:
    """Wherever the window begins, whoever runs the jobs."""
    assert rules(with_turns(*more)) == found


@pytest.mark.parametrize(
    ("job_type", "scope", "allowed", "length_s"),
    [("fleet_rated", "f-0", 100, 0.0), ("tenant_rated", "t-0", 10, 0.0), ("key_bound", "k-0", 3, 0.4)],
)
def test_a_run_with_other_limits_is_judged_by_these(job_type: str, scope: str, allowed: int, length_s: float) -> None:
    """As many as they allow are no finding, and one more is."""
    runs = [turn(job_type, scope, n, BEGIN_S + n / 1_000, length_s) for n in range(allowed + 1)]
    sizes = Sizes(fleet_rate=100, tenant_rate=10, key_bound=3)
    assert rules(replace(account(runs[:-1]), sizes=sizes)) == set()
    assert rules(replace(account(runs), sizes=sizes)) == {"limit"}
    assert rules(account(runs[:-1])) == {"limit"}, "beyond the usual ones"


def test_what_waits_of_a_limit_is_more_than_it_lets_begin_while_its_use_is_judged() -> None:
    """Whatever it allows; else the judge would see no work."""
    for sizes in (USUAL, Sizes(fleet_rate=100, tenant_rate=10, key_bound=3)):
        for guarantee in guarantees(sizes):
            stock = guarantee.stream.stock * (1 if guarantee.is_by_scope else len(guarantee.stream.scopes))
            per_s = guarantee.count / (PER_S if guarantee.is_rate else guarantee.stream.wait_ms / 1_000)
            assert stock > 1.5 * per_s * WINDOW_S


def test_a_job_that_begins_late_for_want_of_a_processor_is_excused() -> None:
    """A tenth of a second, and no more."""
    late = [
        turn("fleet_rated", "f-0", n, BEGIN_S + at_s) for n, at_s in enumerate([0.05, *(0.1 for _ in range(19)), 1.02])
    ]
    busy = [(BEGIN_S - 1, 1e9)]
    assert rules(account(late)) == {"limit"}
    assert rules(replace(account(late), busy=busy)) == set()
    later = [*late[:-1], replace(late[-1], start_s=BEGIN_S + 0.9)]
    assert rules(replace(account(later), busy=busy)) == {"limit"}


def test_what_a_frozen_process_begins_is_excused_and_what_others_do_is_not() -> None:
    """It does not know that its partitions are another's."""
    shared = with_turns(turn("key_bound", "k-2", 9_999, BEGIN_S + 5.0, 0.2))
    frozen = Strike(kind="pause_worker", after=0, begin_s=BEGIN_S + 1, end_s=BEGIN_S + 5, pids=[WORKER])
    assert "limit" not in rules(replace(shared, strikes=[frozen]))
    assert "limit" in rules(replace(shared, strikes=[replace(frozen, pids=[WORKER + 1])]))


def test_what_a_frozen_process_had_begun_is_excused_when_others_have_its_slots() -> None:
    """Its jobs run on as it goes on; one that was frozen for a moment has kept its slots."""
    theirs = [turn("resource_bound", f"r-{n}", n, BEGIN_S + 10, 0.2) for n in range(4)]
    ours = replace(turn("resource_bound", "r-9", 9, BEGIN_S + 1, 9.5), pid=WORKER + 1)
    shared = account([*WHOLE.turns, *theirs, ours])
    assert rules(shared) == {"limit"}
    frozen = Strike(kind="pause_worker", after=0, begin_s=BEGIN_S + 1.1, end_s=BEGIN_S + 10.1, pids=[WORKER + 1])
    assert "limit" not in rules(replace(shared, strikes=[frozen]))
    assert "limit" in rules(replace(shared, strikes=[replace(frozen, begin_s=BEGIN_S + 9)]))


def test_a_job_in_a_child_begins_later_still_for_want_of_a_processor() -> None:
    """It is counted before its child has it."""
    jobs = [turn("tenant_rated", "t-0", n, BEGIN_S + at_s) for n, at_s in enumerate([0.3, 0.4, 0.4, 0.4, 1.1])]
    busy = [(BEGIN_S - 1, 1e9)]
    assert rules(replace(account(jobs), busy=busy)) == {"limit"}
    in_child = [replace(one, child=True) for one in jobs]
    assert rules(replace(account(in_child), busy=busy)) == set()
    assert rules(account(in_child)) == {"limit"}, "there was a processor"


def test_too_little_use_is_found_unless_something_was_amiss() -> None:
    """Half the rate, while jobs wait: by itself, under an order, and without a free processor."""
    half = account([*row("fleet_rated", "f-0", 0.1), *late("fleet_rated", ["f-0"])])
    assert rules(half) == {"unused"}
    assert rules(replace(half, busy=[(BEGIN_S - 1, 1e9)])) == set()
    assert rules(replace(half, quiet=[Held("quiet", "all", frozenset(), BEGIN_S - 1, LATE_S)])) == set()


@pytest.mark.parametrize(("pause_s", "found"), [(5.0, set[str]()), (9.0, {"unused"})])
def test_a_limit_is_used_again_soon_after_a_kill(pause_s: float, found: set[str]) -> None:
    """Within the session timeout and two seconds."""
    kill_s = BEGIN_S + 15
    runs = [one for one in FLEET if not kill_s < one.start_s < kill_s + pause_s]
    assert rules(replace(account([*runs, *late("fleet_rated", ["f-1"])]), strikes=[kill(kill_s)])) == found


def test_a_confirmed_job_that_does_not_end_is_found_and_a_refused_one_that_runs() -> None:
    """A refused one is no job."""
    gone = Asked(CONFIRMED, "gone", "bounded", "b", BEGIN_S, BEGIN_S)
    assert rules(replace(WHOLE, asked=[*WHOLE.asked, gone])) == {"lost"}
    refused = Asked(REFUSED, "refused", "bounded", "b", BEGIN_S, BEGIN_S)
    assert rules(replace(WHOLE, asked=[*WHOLE.asked, refused])) == set()
    ran = replace(turn("bounded", "b", 1, BEGIN_S), job_id="refused")
    assert rules(replace(WHOLE, asked=[*WHOLE.asked, refused], turns=[*WHOLE.turns, ran])) == {"refused"}


def test_jobs_of_a_key_out_of_order_within_a_priority_are_found_and_beside_each_other_in_any() -> None:
    """A priority has an order per key, and all of them have one job of a key at a time."""
    first, second = (turn("ranked", "normal", n, BEGIN_S + n, 0.1, key="key-1") for n in (1, 2))
    assert rules(account([first, second])) == set()
    assert rules(account([replace(first, start_s=second.start_s + 1, end_s=second.end_s + 1), second])) == {"order"}
    beside = turn("ranked", "high", 7, first.start_s + 0.05, key="key-1")
    assert rules(account([first, second, beside])) == {"overlap"}


def test_low_ones_that_get_nothing_are_found() -> None:
    """Normal ones begin all the time, while both wait."""
    scopes = {scope: late("ranked", [scope], 60) for scope in ("normal", "low")}
    waiting = [one for turns in scopes.values() for one in turns]
    normal, low = row("ranked", "normal", 0.1), row("ranked", "low", 0.3, after_s=0.05)
    assert rules(account([*normal, *low, *waiting])) == set()
    assert rules(account([*normal, *waiting])) == {"starved"}


@pytest.mark.parametrize(
    ("job_type", "others", "scope"), [("ranked", "normal", "high"), ("even", FLOOD, "small-1")], ids=["high", "small"]
)
@pytest.mark.parametrize(("waits_s", "found"), [(1.0, set[str]()), (6.0, {"not passed"})])
def test_what_does_not_pass_is_found(job_type: str, others: str, scope: str, waits_s: float, found: set[str]) -> None:
    """Urgent jobs, and those of tenants without a flood, that let forty others begin first."""
    assert rules(passing(job_type, others, scope, waits_s)) == found


def passing(job_type: str, others: str, scope: str, waits_s: float) -> Shared:
    """A flood, and what is to pass it and waits so long."""
    flood = row(job_type, others, 0.1)
    waiting = [turn(job_type, scope, 100_000 + n, BEGIN_S + 3 + n + waits_s) for n in range(25)]
    asked = [*confirmed(flood), *(one for its in waiting for one in confirmed([its], its.start_s - waits_s))]
    return Shared(
        asked=sorted(asked, key=lambda one: one.at_s),
        turns=sorted([*flood, *waiting], key=lambda one: one.start_s),
    )


@pytest.mark.parametrize(("child", "found"), [(0, set[str]()), (500, {"not passed"})], ids=["worker", "child"])
def test_what_waits_for_the_worker_that_a_job_has_killed_is_excused(child: int, found: set[str]) -> None:
    """Its partitions are another's only after the session timeout; where the job has killed its child alone, they
    stay."""
    shared = passing("ranked", "normal", "high", 6.0)
    first_s, last_s = shared.turns[0].start_s, shared.turns[-1].start_s
    dying = [
        Run(number, 1, WORKER + 1, f"chaos.rough/0/{number}", f"chaos.rough/0/{number}", at_s, child=child)
        for number, at_s in enumerate([first_s, first_s + 8.0, first_s + 16.0, first_s + 24.0, last_s])
    ]
    plans = {run.number: JobPlan(run.number, "killing", None, 0) for run in dying}
    killed = Account(plans=plans, runs=dying, confirmed={}, strikes=[], dead_letters=[])
    rules_of_turns = {finding.rule for finding in judge(killed, shared).findings} & {"not passed"}
    assert rules_of_turns == found


def test_the_wait_for_the_last_jobs_ends_though_others_are_asked_all_the_time(tmp_path: Path) -> None:
    """With no worker left, urgent jobs are confirmed for ever, and none of them ends."""
    over = threading.Event()

    def ask() -> None:
        with (tmp_path / "asked-1-1").open("a", encoding="ascii", buffering=1) as notes:
            while not over.wait(0.02):
                notes.write(f"C turn-{time.monotonic_ns()} ranked high 1 {time.monotonic_ns()}\n")

    asking = threading.Thread(target=ask)
    asking.start()
    waiting = threading.Thread(target=wait_ended, args=(tmp_path, 0.5, 0.05), daemon=True)
    try:
        wait_until(lambda: read_asked(tmp_path), what="the first job")
        waiting.start()
        waiting.join(20)
        assert not waiting.is_alive()
    finally:
        over.set()
        asking.join()


def test_more_jobs_than_a_full_queue_admits_are_found_unless_nobody_knew() -> None:
    """One more than the bound, while the first of them wait; and the same while the brokers were silent."""
    runs = [turn("bounded", "b", number, LATE_S + number) for number in range(MAX_WAITING + 1)]
    asked = [one for n, its in enumerate(runs) for one in confirmed([its], BEGIN_S + n / 10)]
    assert rules(Shared(asked=asked[:-1], turns=runs[:-1])) == set()
    assert rules(Shared(asked=asked, turns=runs)) == {"admitted"}
    unknown = Asked(UNKNOWN, "-", "bounded", "-", 0, BEGIN_S + 0.05)
    assert rules(Shared(asked=[unknown, *asked], turns=runs)) == set()
    known = replace(unknown, how=KNOWN, at_s=BEGIN_S + 0.5)
    assert rules(Shared(asked=[unknown, known, *asked], turns=runs)) == {"admitted"}
    late_answer = replace(asked[-1], asked_at_s=BEGIN_S + 0.3, at_s=BEGIN_S + 9.0)
    assert rules(Shared(asked=[unknown, known, *asked[:-1], late_answer], turns=runs)) == set()
