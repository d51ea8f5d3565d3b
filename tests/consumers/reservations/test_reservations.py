"""Reservations: what is used of a limit by key or tenant lasts over owners, whoever is killed, frozen or cut off."""

from __future__ import annotations

from datetime import timedelta

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from stoker.consumers.meters.reserved_meter import VALID_S
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.reservations.partition_log import PartitionLog
from stoker.schemas.own_records.reservation_records import (
    RENEWS,
    ReservationEntry,
    ReservationKind,
    ReservationRecord,
    encode_reservation,
)
from stoker.topology import Rate
from support.scenes.reserving import STEP_S, Reader, ReservingWorld

SECOND = timedelta(seconds=1)
WINDOW = Rate(100, per=20 * SECOND, by="tenant")
FEW = Rate(6, per=20 * SECOND, by="tenant")
BUCKET = Rate(60, per=20 * SECOND, by="tenant", burst=20)
CONFLICT = KafkaError(KafkaError._CONFLICT)
LIMITS = pytest.mark.parametrize("limit", [WINDOW, FEW, BUCKET], ids=["window", "few", "bucket"])


def begun_world(limit: Rate, seed: int = 0, workers_count: int = 3) -> ReservingWorld:
    """A world whose log is known, with a backlog, in which the limit has been used for a while."""
    world = ReservingWorld(limit, seed, workers_count)
    world.enqueue(1_000)
    world.pass_s(45.0)
    return world


def check(world: ReservingWorld, limit: Rate) -> None:
    """No window has held more than the limit allows."""
    per_s = limit.per.total_seconds()
    if limit.burst is None:
        assert world.most_in(per_s) <= limit.count
    else:
        for length_s in (0.1, 1.0, 5.0, per_s, 3 * per_s):
            assert world.most_in(length_s) <= limit.burst + limit.count * length_s / per_s


@LIMITS
def test_a_limit_is_used_again_as_soon_as_another_owner_has_the_partition(limit: Rate) -> None:
    """Nine tenths of what a window allows, counted from the kill on and less the time without an owner."""
    world = begun_world(limit)
    before, at_s = len(world.begun["acme"]), world.clock()
    world.kill(6.0)
    world.pass_s(2.0)
    back_s = world.clock()
    world.pass_s(at_s + 40.0 - back_s)
    assert len(world.begun["acme"]) - before >= 0.9 * 2 * limit.count - 1
    check(world, limit)


def test_a_window_of_an_hour_goes_on_after_a_kill() -> None:
    """What is left of it may begin at once; a new owner would else wait for the hour."""
    limit = Rate(1_000, per=timedelta(hours=1), by="tenant")
    world = ReservingWorld(limit)
    world.pass_s(1.0)
    world.kill()
    world.pass_s(1.0)
    world.log.now_s += 3_700  # what was not known of the new log is over
    world.pass_s(1.0)
    world.enqueue(600)
    world.pass_s(3.0)
    assert len(world.begun["acme"]) == 600
    world.kill()
    world.enqueue(600)
    world.pass_s(2.0)
    assert 950 <= len(world.begun["acme"]) <= 1_000


def test_a_hand_over_in_order_costs_nothing() -> None:
    """The former owner writes the exact level, so that what it had reserved and not used is used."""
    limit = Rate(1_000, per=timedelta(minutes=1), by="tenant")
    world = ReservingWorld(limit)
    world.pass_s(65.0)
    world.enqueue(300)
    world.pass_s(1.0)
    assert len(world.begun["acme"]) == 300
    assert world.owner is not None
    world.owner.lose()
    world.owner = None
    world.pass_s(0.2)
    world.give_to(world.workers[1])
    world.enqueue(1_000)
    world.pass_s(3.0)
    assert len(world.begun["acme"]) == 1_000


@LIMITS
@pytest.mark.parametrize("seed", range(3))
def test_no_window_holds_too_many_whatever_happens(limit: Rate, seed: int) -> None:
    """Kills, frozen owners that go on without knowing, hand-overs, lost records."""
    play(limit, seed)


@pytest.mark.soak
@LIMITS
@pytest.mark.parametrize("begin", range(100, 250, 30))
def test_no_window_holds_too_many_in_many_plays(limit: Rate, begin: int) -> None:
    """The same for long."""
    for seed in range(begin, begin + 30):
        play(limit, seed)


def play(limit: Rate, seed: int) -> None:
    """Let things happen for a minute or two."""
    world = ReservingWorld(limit, seed, workers_count=4)
    world.enqueue(2_000)
    for _ in range(14):
        world.pass_s(world.chance.uniform(0.1, 12.0))
        match world.chance.randrange(6):
            case 0 | 1:
                world.kill(world.chance.choice([0.0, 1.0, 6.0]))
            case 2:
                world.freeze(world.chance.uniform(0.1, 3.0))
            case 3:
                world.freeze(world.chance.uniform(1.0, 8.0), timeout_s=1.0)
            case 4:
                world.log.is_lossy = not world.log.is_lossy
            case _:
                world.hand_over()
    check(world, limit)


@pytest.mark.parametrize("steps", range(8))
def test_a_kill_at_any_step_loses_no_begin(steps: int) -> None:
    """What has begun was reserved before: at each moment the log has it."""
    for limit in (WINDOW, FEW, BUCKET):
        world = ReservingWorld(limit, seed=steps)
        world.pass_s(25.0)
        world.enqueue(300)
        world.pass_s(steps * STEP_S)
        world.kill(0.0)
        world.pass_s(1.0)
        at_once, beside = (limit.count, 0) if limit.burst is None else (limit.burst, 4)
        least = (
            0.9 * at_once - 1 if limit.burst is None else 0.6 * at_once
        )  # it counts as used when the reservation ends
        assert least <= len(world.begun["acme"]) <= at_once + beside


def test_a_reservation_behind_the_takeover_of_another_owner_counts_for_nobody() -> None:
    """Also where its owner begins the log anew, and none that comes late: the present owner has all that was used."""
    log = PartitionLog("c")
    values = [
        ReservationRecord(kind=ReservationKind.TAKEOVER, session="a"),
        reservations("a", 1, 10),
        ReservationRecord(kind=ReservationKind.TAKEOVER, session="b"),
        reservations("b", 3, 50),
        reservations("b", 2, 20),
        ReservationRecord(kind=ReservationKind.TAKEOVER, session="a", detail={RENEWS: "true"}),
        reservations("a", 9, 5),
        ReservationRecord(kind="newer", session="b"),
        ReservationRecord(kind=ReservationKind.TAKEOVER, session="c"),
    ]
    for offset, record in enumerate(values):
        value = encode_reservation(record)
        log.note(Message(topic="t", partition=0, offset=offset, value=value, timestamp=(2, 1_000 * offset)))
    ((name, former),) = log.take_levels(100.0)
    level = former.level
    assert (log.taken_over_at, log.is_whole, log.unknown_at_s(100.0)) == (8, True, None)
    assert name == ("q.limit", b"acme")
    assert (level.at_s, level.used) == (95.0, ((94.5, 50),)), "five seconds before the takeover, by the brokers' clock"


def reservations(session: str, number: int, used: int) -> ReservationRecord:
    """Of one scope, used half a second before."""
    entry = ReservationEntry(limit="q.limit", value=b"acme", ages_ms=(500,), amounts=(used,))
    return ReservationRecord(kind=ReservationKind.RESERVATIONS, session=session, number=number, entries=(entry,))


def test_an_owner_that_was_cut_off_may_use_what_it_has_reserved_and_no_more() -> None:
    """It goes on without knowing that another one has the partition; the other's takeover is before what it writes."""
    world = ReservingWorld(WINDOW, workers_count=2)
    world.pass_s(25.0)
    former, other = world.workers
    world.enqueue(30)
    world.pass_s(1.0)
    assert len(world.begun["acme"]) == 30
    world.give_to(other)  # which the former does not know
    world.enqueue(500)
    former.come([("acme", 10_000 + number) for number in range(500)])
    world.pass_s(15.0)
    assert 0.9 * WINDOW.count <= len(world.begun["acme"]) <= WINDOW.count


def test_a_log_that_cannot_be_read_counts_as_used_up() -> None:
    """As a limit without reservations: the rate is whole one window later."""
    world = ReservingWorld(WINDOW)
    world.enqueue(300)
    world.pass_s(1.0)
    assert not world.begun["acme"], "an owner of an earlier release may have begun as many"
    world.pass_s(22.0)
    assert len(world.begun["acme"]) == 100
    world.log.append(b"garbage")
    world.kill()
    at_s = world.clock()
    world.pass_s(19.5)
    assert len(world.begun["acme"]) == 100
    world.pass_s(at_s + 22.0 - world.clock())
    assert len(world.begun["acme"]) == 200
    check(world, WINDOW)


def test_a_log_is_begun_anew_before_it_is_long() -> None:
    """A new owner reads a few records for each scope, however long the one before had the partition."""
    limit = Rate(1, per=2 * SECOND, by="tenant")
    world = ReservingWorld(limit)
    for _ in range(60):
        for tenant in range(60):
            world.enqueue(1, f"t{tenant}")
        world.pass_s(2.3)
    world.kill()
    world.pass_s(1.0)
    assert world.owner is not None
    since = world.owner.reservations._owned[0].since
    entries = world.owner.reservations._owned[0].log.entries
    assert since > 0
    assert entries < 1_700
    assert len(world.begun["t7"]) >= 59


def test_many_scopes_are_restored_and_forgotten() -> None:
    """A hundred thousand would take as much longer: memory and log follow what is used in a window."""
    limit = Rate(2, per=5 * SECOND, by="tenant")
    world = ReservingWorld(limit)
    world.pass_s(7.0)
    for tenant in range(3_000):
        world.enqueue(2, f"t{tenant}")
    world.pass_s(1.0)
    assert sum(len(begun) for begun in world.begun.values()) == 6_000
    world.kill(1.0)
    for tenant in range(3_000):
        world.enqueue(1, f"t{tenant}")
    world.pass_s(2.0)
    assert sum(len(begun) for begun in world.begun.values()) == 6_000, "the new owner knows all of them"
    world.pass_s(8.0)
    assert sum(len(begun) for begun in world.begun.values()) == 9_000
    world.pass_s(8.0)
    assert world.owner is not None
    (keeper,) = world.owner.limits.reservations._keepers.values()
    keeper.forget_idle(world.clock())
    assert (len(keeper.scopes), len(keeper._former)) == (0, 0)


@pytest.mark.parametrize(
    ("has_log", "refusals"),
    [(False, [CONFLICT]), (True, [CONFLICT]), (True, [None, CONFLICT]), (True, [CONFLICT, None, CONFLICT])],
    ids=["new", "at the end", "at the begin", "at both"],
)
def test_a_takeover_whose_reader_is_refused_is_tried_again(*, has_log: bool, refusals: list[KafkaError | None]) -> None:
    """Wherever that was: at its last record, or where it is to be read from. Else no job begins, for ever."""
    world = begun_world(WINDOW) if has_log else ReservingWorld(WINDOW)
    world.enqueue(1_000)
    other = world.workers[1]
    reader = other.make_reader()
    reader.refusals = list(refusals)
    other.reservations._reader = reader
    assert world.owner is not None
    world.owner.lose()
    world.give_to(other)
    before = len(world.begun["acme"])
    world.pass_s(45.0)
    assert not reader.refusals
    assert len(world.begun["acme"]) - before >= 0.9 * WINDOW.count
    check(world, WINDOW)


def test_a_reader_that_failed_for_good_is_replaced() -> None:
    """Its partitions are taken over once more, and what was used before counts."""
    world = begun_world(WINDOW)
    assert world.owner is not None
    (reader,) = world.owner.readers
    reader.fatal = KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    before = len(world.begun["acme"])
    world.pass_s(40.0)
    assert len(world.owner.readers) == 2
    assert len(world.begun["acme"]) - before >= 0.9 * 2 * WINDOW.count - 1
    check(world, WINDOW)


def test_a_partition_without_a_leader_holds_back_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner asks for its log again and again, and renews the reservations of the other one meanwhile."""
    world = begun_world(WINDOW)
    asked: list[float] = []
    ask_edges = Reader.ask_edges

    def ask(reader: Reader, partition: int, timeout_s: float) -> tuple[int, int]:
        if partition == 0:
            return ask_edges(reader, partition, timeout_s)
        asked.append(timeout_s)
        world.log.now_s += timeout_s
        raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))

    monkeypatch.setattr(Reader, "ask_edges", ask)
    assert world.owner is not None
    world.owner.row.begin_assignment(Assignment(2, world.queue.topic, 1, keeps_order=False))
    before = len(world.begun["acme"])
    world.pass_s(60.0)
    assert len(world.begun["acme"]) - before >= 0.9 * 2 * WINDOW.count
    assert len(asked) >= 20
    assert max(asked) < VALID_S / 2
    check(world, WINDOW)
