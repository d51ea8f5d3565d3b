"""The order in which tenants have their turns."""

from __future__ import annotations

from collections import Counter
from itertools import count
from types import SimpleNamespace
from typing import Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.fairness.fair_queue import FairQueue, Line, Load
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.topology import FairBy, InvalidDeclaration, Pipeline

MAIN: Final = cast(Assignment, object())
OTHER: Final = cast(Assignment, object())
_NUMBERS = count()


def records(tenant: bytes | None, number: int, assignment: Assignment = MAIN) -> list[Record]:
    """Ready ones of one tenant."""
    made = [SimpleNamespace(tenant=tenant, assignment=assignment, number=next(_NUMBERS)) for _ in range(number)]
    return cast(list[Record], made)


def even() -> FairQueue:
    """All tenants have the weight 1."""
    return FairQueue(FairBy().weight_of)


def tenants(taken: list[tuple[Record, Line]]) -> list[bytes | None]:
    """Whose records were taken."""
    return [record.tenant for record, _ in taken]


def test_a_new_tenant_is_next_whatever_waits_ahead() -> None:
    """A thousand records of a heavy tenant wait, and as many are with the runners: the one of another goes first."""
    queue = even()
    queue.put(records(b"flood", 2_000))
    queue.pop(1_000)
    queue.put(records(b"small", 1))
    assert tenants(queue.pop(3)) == [b"small", b"flood", b"flood"]


def test_a_tenant_alone_has_all_runners_in_the_order_of_its_records() -> None:
    """Nothing is kept for others that have no work."""
    queue = even()
    queue.put(made := records(b"flood", 100))
    assert [record for record, _ in queue.pop(100)] == made
    assert (queue.ready, queue.busy) == (0, 100)


def test_runners_are_shared_by_weights() -> None:
    """Of eight runners, one of weight 3 has six, and one of weight 1 two."""
    queue = FairQueue(FairBy(weights={"acme": 3}).weight_of)
    queue.put(records(b"small", 50) + records(b"acme", 50))
    assert Counter(tenants(queue.pop(8))) == {b"acme": 6, b"small": 2}


def test_a_tenant_with_long_jobs_has_no_more_runners_than_others() -> None:
    """Its two jobs do not end; of each other one that ends, the next one is not its own."""
    queue = even()
    queue.put(records(b"long", 50) + records(b"short", 50))
    running = queue.pop(4)
    for _ in range(20):
        ended = next(entry for entry in running if entry[0].tenant == b"short")
        running.remove(ended)
        queue.end(ended[1])
        running += queue.pop(1)
    assert Counter(tenants(running)) == {b"long": 2, b"short": 2}


def test_a_tenant_that_was_alone_keeps_its_turns_when_another_comes() -> None:
    """Many of its jobs were with the runners, and have ended while it was alone."""
    queue = even()
    queue.put(records(b"first", 700))
    for _, line in queue.pop(500):
        queue.end(line)
    queue.put(records(b"second", 700))
    taken = [queue.pop(1)[0] for _ in range(100)]
    assert 40 <= tenants(taken).count(b"first") <= 60


def test_a_tenant_that_comes_back_counts_where_its_owner_looks() -> None:
    """Its load was 0 and is forgotten, as that of thousands of tenants; so a heavy one would not be found."""
    loads = dict[bytes | None, Load]()
    queue = FairQueue(FairBy().weight_of, lambda tenant: loads.setdefault(tenant, Load()))
    queue.put(records(b"t", 1))
    ((_, line),) = queue.pop(1)
    queue.end(line)
    loads.clear()
    queue.put(records(b"t", 3))
    assert (loads[b"t"].count, loads[b"t"].waiting) == (3, 3)


def test_equals_have_their_turns_one_after_the_other() -> None:
    """With one runner at a time, three tenants take turns, and one that comes later has nothing saved up."""
    queue = even()
    order: list[bytes | None] = []
    for tenant in (b"a", b"b"):
        queue.put(records(tenant, 20))
    for turn in range(12):
        if turn == 6:
            queue.put(records(None, 20))
        ((record, line),) = queue.pop(1)
        queue.end(line)
        order.append(record.tenant)
    assert Counter(order[:6]) == {b"a": 3, b"b": 3}
    assert Counter(order[6:]) == {b"a": 2, b"b": 2, None: 2}


def test_what_leaves_with_its_partition_is_taken_out() -> None:
    """The others stay, and the counts fit."""
    queue = even()
    queue.put(records(b"a", 2) + records(b"a", 3, OTHER) + records(b"b", 1, OTHER))
    assert len(queue.drop([OTHER])) == 4
    assert (queue.ready, queue.active) == (2, 1)
    assert tenants(queue.pop(9)) == [b"a", b"a"]


@given(st.lists(st.tuples(st.sampled_from("pte"), st.integers(0, 3), st.integers(1, 6)), max_size=60))
def test_no_record_is_lost_or_given_twice(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is put, taken and ended: each record comes once, of each tenant in its order, and counts fit."""
    queue, put, running, came = even(), Counter[bytes](), list[tuple[Record, Line]](), list[Record]()
    for what, tenant, number in steps:
        name = b"t%d" % tenant
        if what == "p":
            queue.put(records(name, number))
            put[name] += number
        elif what == "t":
            taken = queue.pop(number)
            running += taken
            came += [record for record, _ in taken]
        else:
            for _, line in running[:number]:
                queue.end(line)
            del running[:number]
        assert queue.ready == sum(put.values()) - len(came)
        assert queue.busy == len(running)
    came += [record for record, _ in queue.pop(1_000)]
    assert Counter(record.tenant for record in came) == put
    for name in put:
        mine = [record.number for record in came if record.tenant == name]  # type: ignore[attr-defined]  # of `records`
        assert mine == sorted(set(mine))


def test_a_queue_is_fair_or_has_priorities() -> None:
    """The error names the way out."""
    with pytest.raises(InvalidDeclaration, match=r"exclude each other.* a queue of their own, or keep priorities"):
        Pipeline("unit").queue("mails", fair_by="tenant", priorities={"high": 2, "normal": 1})


@pytest.mark.parametrize(
    ("fair_by", "fault"),
    [
        ("customer", "fair_by must be one of tenant; it is 'customer'"),
        (FairBy(weights={"acme": 0}), "weights of fair_by must be finite numbers above zero; these are not: 'acme': 0"),
        (FairBy(weights={"acme": float("nan"), "zeta": True}), "'acme': nan, 'zeta': True"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(fair_by: FairBy, fault: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(InvalidDeclaration, match=fault):
        Pipeline("unit").queue("mails", fair_by=fair_by)
