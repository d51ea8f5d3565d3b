"""Pauses: the jobs of a queue, a type or a key wait until they are resumed, at no attempt's cost, and no others do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.gates.gate import START, Wait
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.gates.pauses import Ordered, Pause, Pauses
from stoker.consumers.records.record import Record
from support.scenes.deliveries import Delivery, declare

QUEUE = Pause("work")
MAILS = Pause("work", "mail")
ANN = Pause("work", None, b"ann")
MAILS_OF_ANN = Pause("work", "mail", b"ann")


@dataclass
class Scene:
    """A row with pauses, and what has started behind it."""

    delivery: Delivery = field(default_factory=declare)
    started: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin, with nothing paused."""
        self.row = GateRow()
        self.pauses = Pauses(self.row)
        self.row.add([self.pauses])
        self.row.start(self.make_ready)
        mails = [self.record(1, b"mail", b"ann"), self.record(2, b"mail", b"bob")]
        self.records = [*mails, self.record(3, b"call", b"ann"), self.record(4, b"call", None)]

    def record(self, offset: int, job_type: bytes, key: bytes | None, tenant: bytes | None = None) -> Record:
        """A record of a job."""
        named = {} if tenant is None else {"stoker-tenant": tenant}
        return self.delivery.record({"ce_type": job_type, "ce_id": b"%d" % offset, **named}, key=key, offset=offset)

    def make_ready(self, records: list[Record]) -> None:
        """As the dispatch does."""
        self.started += [record.offset for record in (self.row.admit(records) if self.row else records)]


def test_a_row_is_false_while_nothing_is_paused() -> None:
    """So that a gate costs nothing then."""
    scene = Scene()
    assert not scene.row
    scene.pauses.begin(MAILS)
    assert scene.row
    scene.pauses.begin(ANN)
    scene.pauses.end(MAILS)
    assert scene.row
    scene.pauses.end(ANN)
    assert not scene.row


@pytest.mark.parametrize(
    ("pause", "starts"),
    [
        pytest.param(QUEUE, [], id="queue"),
        pytest.param(MAILS, [3, 4], id="type"),
        pytest.param(ANN, [2, 4], id="key"),
        pytest.param(MAILS_OF_ANN, [2, 3, 4], id="type and key"),
        pytest.param(Pause("work", "fax"), [1, 2, 3, 4], id="another type"),
    ],
)
def test_what_is_paused_waits_and_nothing_else_does(pause: Pause, starts: list[int]) -> None:
    """And it starts when it is resumed."""
    scene = Scene()
    scene.pauses.begin(pause)
    scene.make_ready(scene.records)
    assert scene.started == starts
    assert scene.row.view.counts() == ({pause: 4 - len(starts)} if len(starts) < 4 else {})
    scene.pauses.end(pause)
    assert sorted(scene.started) == [1, 2, 3, 4]
    assert scene.row.view.count == 0


def test_what_two_pauses_hold_waits_for_both() -> None:
    """Whichever ends first."""
    scene = Scene()
    scene.pauses.begin(MAILS)
    scene.pauses.begin(ANN)
    scene.make_ready(scene.records)
    scene.pauses.end(MAILS)
    assert scene.started == [4, 2]
    scene.pauses.end(ANN)
    assert sorted(scene.started) == [1, 2, 3, 4]


def test_pauses_begin_and_end_once() -> None:
    """However often they are asked for."""
    scene = Scene()
    for pause in (MAILS, ANN, MAILS):
        scene.pauses.begin(pause)
    assert list(scene.pauses.standing) == [MAILS, ANN]
    scene.pauses.end(MAILS)
    scene.pauses.end(MAILS)
    assert list(scene.pauses.standing) == [ANN]


def test_a_pause_names_what_it_is_and_what_resumes_it() -> None:
    """In inspections and logs."""
    assert (QUEUE.state, str(QUEUE)) == ("paused", "the jobs of queue 'work'")
    assert QUEUE.detail == {"ends_by": "Worker.resume('work')"}
    assert str(MAILS_OF_ANN) == "the jobs of type 'mail' of key 'ann' of queue 'work'"
    assert MAILS_OF_ANN.detail == {"ends_by": "Worker.resume('work', job_type='mail', key='ann')"}


ORDERED = Ordered(
    order_id="1", state="paused", operator="ann", reason="", until_at_s=None, lift="stoker control resume"
)
PAUSES = st.builds(
    Pause,
    st.just("work"),
    st.sampled_from([None, "mail", "call"]),
    st.sampled_from([None, b"ann", b"bob"]),
    st.sampled_from([None, "acme"]),
    st.sampled_from([None, 0, 1]),
    st.sampled_from([None, ORDERED, replace(ORDERED, until_at_s=100.0), replace(ORDERED, until_at_s=200.0)]),
)


def is_held(pause: Pause, record: Record, now_s: float) -> bool:
    """Whether a pause is about the record, said in another way."""
    tenant = None if record.tenant is None else record.tenant.decode()
    job_type = (record.header("ce_type") or b"").decode()
    return (
        pause.job_type in (None, job_type)
        and pause.key in (None, record.key)
        and pause.tenant in (None, tenant)
        and pause.partition in (None, record.partition)
        and (pause.until_at_s is None or pause.until_at_s > now_s)
    )


@given(st.lists(st.tuples(st.booleans(), PAUSES), max_size=12), st.sampled_from([50.0, 150.0, 250.0]))
def test_a_record_starts_if_no_pause_that_stands_is_about_it(changes: list[tuple[bool, Pause]], now_s: float) -> None:
    """Whatever began and ended before, in whatever order."""
    scene = Scene()
    records = [*scene.records, scene.record(5, b"mail", b"ann", b"acme"), scene.record(6, b"call", None, b"acme")]
    standing: set[Pause] = set()
    for begins, pause in changes:
        if begins:
            scene.pauses.begin(pause)
            standing.add(pause)
        else:
            scene.pauses.end(pause)
            standing.discard(pause)
    assert set(scene.pauses.standing) == standing
    assert scene.pauses.is_resting == (not standing)
    for record in records:
        may = scene.pauses.may_start(record, now_s) == START
        assert may == (not any(is_held(pause, record, now_s) for pause in standing))


def test_a_pause_that_is_over_holds_nothing_and_its_records_are_asked_again() -> None:
    """Also where nobody has ended it yet."""
    scene = Scene()
    scene.pauses.begin(replace(MAILS, ordered=replace(ORDERED, until_at_s=100.0)))
    answer = scene.pauses.may_start(scene.records[0], 99.0)
    assert isinstance(answer, Wait)
    assert answer.until_at_s == 100.0
    assert scene.pauses.may_start(scene.records[0], 100.0) == START
