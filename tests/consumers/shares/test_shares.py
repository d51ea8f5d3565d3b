"""Shares: several workers keep one limit together, whoever is killed, frozen or cut off, and use most of it."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from confluent_kafka import KafkaError, KafkaException

from stoker.consumers.limits.shared_keeper import SharedKeeper
from stoker.consumers.shares.share_book import ShareBook
from stoker.consumers.shares.share_meter import ShareMeter
from stoker.schemas.own_records.share_records import ShareEntry, ShareKind, ShareRecord, decode_share, encode_share
from stoker.topology import Concurrency, Rate
from stoker.topology.declaration.limits import Limit
from support.scenes.deliveries import record_of
from support.scenes.sharing import STEP_S, Reader, SharingWorld

SECOND = timedelta(seconds=1)
RATE = Rate(100, per=SECOND, name="q.limit")
BUCKET = Rate(60, per=2 * SECOND, burst=10, name="q.limit")
PERMITS = Concurrency(10, name="q.limit")
DISTANT = Rate(300, per=90 * SECOND, name="q.limit")


def check_rate(world: SharingWorld, limit: Rate) -> None:
    """No window has held more than the limit allows."""
    per_s = limit.per.total_seconds()
    if limit.burst is None:
        assert world.most_in(per_s) <= limit.count
    else:
        for length_s in (0.1, 0.5, 1.0, per_s, 3 * per_s):
            assert world.most_in(length_s) <= limit.burst + limit.count * length_s / per_s


@pytest.mark.parametrize("workers", [1, 4])
def test_most_of_a_rate_is_used_when_there_is_work(workers: int) -> None:
    """At least nine tenths of it, in twenty seconds, of which the first has the begin."""
    world = SharingWorld(RATE, seed=1, workers_count=workers, backlog=3_000)
    world.pass_s(2.0)
    before = len(world.begun)
    world.pass_s(20.0)
    assert len(world.begun) - before >= 0.9 * 20 * RATE.count
    check_rate(world, RATE)


def test_slots_are_used_when_there_is_work() -> None:
    """Nine tenths of them on the average, for jobs of 50 ms."""
    world = SharingWorld(PERMITS, seed=2, workers_count=4)
    world.pass_s(2.0)
    seen: list[int] = []
    world.pass_s(10.0, lambda: seen.append(world.running))
    assert max(seen) <= PERMITS.count
    assert sum(seen) / len(seen) >= 0.85 * PERMITS.count


def test_a_worker_without_work_keeps_nothing_from_the_others() -> None:
    """It returns what it does not use."""
    world = SharingWorld(RATE, seed=3, workers_count=2, backlog=30)
    world.pass_s(2.0)
    world.workers[1].enqueue(3_000)
    world.pass_s(1.0)
    before = len(world.begun)
    world.pass_s(10.0)
    assert len(world.begun) - before >= 0.9 * 10 * RATE.count


def test_a_slow_worker_keeps_nothing_from_a_fast_one() -> None:
    """It is granted no more than it begins, though it has a backlog."""
    world = SharingWorld(RATE, seed=4, workers_count=2, backlog=3_000, run_s=0.01)
    world.workers[0].slots = 0
    world.pass_s(2.0)
    before = len(world.begun)
    world.pass_s(10.0)
    assert len(world.begun) - before >= 0.8 * 10 * RATE.count


@pytest.mark.parametrize("limit", [RATE, BUCKET, PERMITS, DISTANT], ids=["window", "bucket", "permits", "distant"])
@pytest.mark.parametrize("seed", range(4))
def test_no_window_holds_too_many_whatever_happens(limit: Limit, seed: int) -> None:
    """Kills of anybody, the coordinator too; frozen workers, former coordinators that do not know it; lost records."""
    play(limit, seed)


@pytest.mark.soak
@pytest.mark.parametrize("limit", [RATE, BUCKET, PERMITS], ids=["window", "bucket", "permits"])
@pytest.mark.parametrize("begin", range(100, 300, 50))
def test_no_window_holds_too_many_in_many_plays(limit: Limit, begin: int) -> None:
    """The same for long."""
    for seed in range(begin, begin + 50):
        play(limit, seed)


def play(limit: Limit, seed: int) -> None:
    """Let things happen for some twenty seconds."""
    world = SharingWorld(limit, seed)

    def look() -> None:
        if isinstance(limit, Concurrency):
            assert world.running <= limit.count, "too many run"

    for _ in range(8):
        world.pass_s(world.chance.uniform(0.2, 3.0), look)
        alive = [worker for worker in world.workers if worker.is_alive]
        worker = world.chance.choice(alive)
        match world.chance.randrange(6):
            case 0 if len(alive) > 1:
                world.kill(worker)
            case 5 if len(alive) > 1:
                # Permits of jobs that go on for longer are given to others meanwhile.
                world.stop(worker, world.chance.choice([0.0, world.chance.uniform(0.0, 5.5)]))
            case 1:
                # A longer one of jobs that hold permits would be taken for dead while they run.
                world.freeze(worker, world.chance.uniform(0.1, 3.0))
            case 2:
                world.log.is_lossy = not world.log.is_lossy
            case 3 if len(alive) > 1:
                world.move_owner(worker)
            case _:
                worker.enqueue(100)
    if isinstance(limit, Rate):
        check_rate(world, limit)


def test_the_limit_is_used_again_soon_after_the_coordinator_was_killed() -> None:
    """Once another one has its partition: within two seconds."""
    world = SharingWorld(RATE, seed=5, workers_count=4, backlog=3_000)
    world.pass_s(3.0)
    world.kill(world.workers[0])
    world.pass_s(2.0)
    before = len(world.begun)
    world.pass_s(10.0)
    assert len(world.begun) - before >= 0.9 * 10 * RATE.count
    check_rate(world, RATE)


@pytest.mark.parametrize("away_s", [4.0, 10.0, 46.0])
def test_permits_of_running_jobs_outlast_the_time_without_a_coordinator(away_s: float) -> None:
    """As while its group detects that it was killed: the next one gives none of them a second time."""
    world = SharingWorld(PERMITS, seed=7, workers_count=4, run_s=90.0)
    world.pass_s(2.0)
    coordinator = world.workers[0]
    world.kill(coordinator)
    world.owner = None
    running = world.running
    assert running > 0
    world.pass_s(away_s)
    world.owner = world.workers[1]
    seen: list[int] = []
    world.pass_s(15.0, lambda: seen.append(world.running))
    assert running <= max(seen) <= PERMITS.count


def test_a_limit_waits_for_no_longer_window_than_its_own() -> None:
    """The log of an hour takes a while to be read; a limit of a second is given meanwhile."""
    hour = Rate(100, per=3_600 * SECOND, name="q.hour")
    world = SharingWorld(RATE, seed=5, workers_count=4, backlog=3_000, beside={"q.hour": hour}, is_stuck=True)
    world.pass_s(3.0)
    world.kill(world.workers[0])
    world.pass_s(2.0)
    before = len(world.begun)
    world.pass_s(10.0)
    assert len(world.begun) - before >= 0.9 * 10 * RATE.count
    check_rate(world, RATE)
    assert world.owner is not None
    assert len(world.owner.readers) == 2, "what the hour needs is being read"


def test_a_new_coordinator_of_a_distant_limit_knows_what_was_used() -> None:
    """It reads that back, and gives what is left at once."""
    world = SharingWorld(DISTANT, seed=6, workers_count=3, backlog=90)
    world.pass_s(5.0)
    assert len(world.begun) == 270
    world.kill(world.workers[0])
    for worker in world.workers[1:]:
        worker.enqueue(200)
    world.pass_s(3.0)
    assert 0.97 * DISTANT.count <= len(world.begun) <= DISTANT.count


def test_scopes_of_which_nothing_is_left_are_forgotten() -> None:
    """A function of the arguments may make any number of them."""
    book = ShareBook({"q.limit": RATE})
    now_s = 0.0
    for turn in range(100):
        now_s += 1.0
        entries = tuple(
            ShareEntry(worker=f"w{turn}.{n}", limit="q.limit", value=b"%d" % (100 * turn + n), wanted=1, least=1)
            for n in range(100)
        )
        book.note(ShareRecord(kind=ShareKind.REQUEST, coordinator="q", sender="w", entries=entries), now_s, {"q.limit"})
        assert len(book.give(now_s, {"q.limit"})) >= 100
        book.forget_idle(now_s)
        assert len(book) <= 1_500, "those of the last seconds"
    now_s += 20.0
    book.give(now_s, {"q.limit"})
    book.give(now_s + 2.0, {"q.limit"})
    book.forget_idle(now_s + 2.0)
    assert len(book) == 0


def test_the_slots_of_a_killed_worker_are_used_again() -> None:
    """When its grants have ended."""
    world = SharingWorld(PERMITS, seed=6, workers_count=3)
    world.pass_s(3.0)
    world.kill(world.workers[1])
    world.pass_s(8.0)
    seen: list[int] = []
    world.pass_s(5.0, lambda: seen.append(world.running))
    assert max(seen) <= PERMITS.count
    assert sum(seen) / len(seen) >= 0.85 * PERMITS.count


def test_a_worker_that_stops_returns_what_it_holds() -> None:
    """Its permits are free at once, and not after a while."""
    world = SharingWorld(PERMITS, seed=7, workers_count=2)
    world.pass_s(3.0)
    world.stop(world.workers[1], runs_on_s=0.0)
    world.pass_s(1.0)
    seen: list[int] = []
    world.pass_s(3.0, lambda: seen.append(world.running))
    assert sum(seen) / len(seen) >= 0.85 * PERMITS.count


@pytest.mark.parametrize("number", [0, 1], ids=["coordinator", "another"])
def test_jobs_that_outlive_the_stop_of_their_worker_keep_their_permits(number: int) -> None:
    """A job in a blocking call goes on past its grace; permits that no job has are free at once, the others later."""
    world = SharingWorld(PERMITS, seed=7, workers_count=3)
    world.pass_s(3.0)
    gone = world.workers[number]
    running = len(gone.running)
    assert 0 < running < PERMITS.count
    world.stop(gone, runs_on_s=5.0)
    world.pass_s(2.0)
    seen: list[int] = []
    world.pass_s(2.9, lambda: seen.append(world.running))
    assert len(gone.running) == running
    assert max(seen) <= PERMITS.count
    assert sum(seen) / len(seen) >= 0.85 * PERMITS.count
    world.pass_s(3.0)
    seen.clear()
    world.pass_s(3.0, lambda: seen.append(world.running))
    assert max(seen) <= PERMITS.count
    assert sum(seen) / len(seen) >= 0.85 * PERMITS.count


def test_the_last_report_keeps_the_slots_of_jobs_that_run() -> None:
    """Of four that were granted one is held by no job, and one is of a job that ended just now: these are returned."""
    meter = ShareMeter(PERMITS, "session")
    meter.note_grant(ShareEntry(worker="session", limit="q.limit", value=None, granted=4, most=10), 0.0, 0.0)
    for _ in range(3):
        meter.acquire(1, 0.1)
    meter.end(1)
    assert meter.return_shares() == (0, 2, 4)
    assert not meter.end(1), "the permit of a job that ends later is not used again"
    assert meter.room(0.2) == 0


def test_a_grant_that_an_earlier_coordinator_wrote_behind_a_takeover_is_void() -> None:
    """It was on its way when the coordinator froze; the new one does not know of it."""
    world = SharingWorld(RATE, seed=8, workers_count=1, backlog=500)
    world.pass_s(0.5)
    (worker,) = world.workers
    requests = [decode_share(message.value()) for message in world.log.records]
    asked = next(record for record in reversed(requests) if record.kind == ShareKind.REQUEST)
    epoch = next(record.epoch for record in reversed(requests) if record.kind == ShareKind.GRANT)
    world.owner = None
    takeover = ShareRecord(kind=ShareKind.TAKEOVER, coordinator="q", sender="another")
    entry = ShareEntry(worker=asked.entries[0].worker, limit="q.limit", value=None, number=asked.number, granted=400)
    late = ShareRecord(kind=ShareKind.GRANT, coordinator="q", sender="w0", epoch=epoch, entries=(entry,))
    world.pass_s(0.5)
    begun = len(world.begun)
    world.log.append(encode_share(takeover))
    world.log.append(encode_share(late))
    world.pass_s(0.5)
    assert (len(world.begun), worker.is_alive) == (begun, True)


def test_garbage_on_the_topic_of_shares_is_passed_over() -> None:
    """A newer release may write what this one cannot read."""
    world = SharingWorld(RATE, seed=9, workers_count=1)
    for value in (b"", b"garbage", encode_share(ShareRecord(kind="new", coordinator="q", sender="w9"))):
        world.log.append(value)
    world.pass_s(2.0)
    assert world.begun


def test_workers_report_that_nobody_gives_shares(caplog: pytest.LogCaptureFixture) -> None:
    """The home of a resource may have no worker: jobs of other queues would wait without a word."""
    world = SharingWorld(RATE, seed=10, workers_count=2)
    world.owner = None
    with caplog.at_level(logging.WARNING, "stoker.limits"):
        world.pass_s(20.0)
    assert not world.begun
    assert "the worker that owns partition 0 of queue q gives them" in caplog.text


def test_a_limit_by_a_function_counts_each_of_its_values_apart() -> None:
    """The producer has made the value; a job without one is not counted."""
    limit = Rate(3, per=SECOND, by=lambda region: region)
    keeper = SharedKeeper("q.limit", limit, "q")
    north = keeper.scope_of(record_of([("stoker-limited-by", b'{"q.limit":"north"}')]))
    assert north is not None
    assert north is keeper.scope_of(record_of([("stoker-limited-by", b'{"q.limit":"north","other":"x"}')]))
    assert north is not keeper.scope_of(record_of([("stoker-limited-by", b'{"q.limit":"south"}')]))
    for value in (b'{"other":"x"}', b"[]", b"garbage", b'{"q.limit":3}'):
        assert keeper.scope_of(record_of([("stoker-limited-by", value)])) is None
    assert keeper.scope_of(record_of([])) is None
    assert north.why.detail["ends_by"] == "room in limit q.limit for 'north' (3/1s by a function)"


def test_a_scope_that_one_worker_holds_is_held_for_all() -> None:
    """The other side has refused one of them; the coordinator gives nothing, and what others hold waits."""
    world = SharingWorld(RATE, seed=11, workers_count=3)
    world.pass_s(2.0)
    record = record_of([("ce_type", b"work")])
    first = world.workers[0]
    first.limits._of_others = ()  # as if the limit were the type's own
    first.row.hold_until(record, first.row._clock() + 4.0)
    world.pass_s(0.3)
    begun = len(world.begun)
    world.pass_s(3.0)
    assert len(world.begun) == begun
    world.pass_s(2.5)
    assert len(world.begun) >= begun + RATE.count


@pytest.mark.parametrize(
    "refusal",
    [KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC)), KafkaError(KafkaError._QUEUE_FULL)],
    ids=["raised", "answered"],
)
def test_a_takeover_that_could_not_be_sent_is_tried_again(refusal: KafkaException | KafkaError) -> None:
    """Else nobody gives shares as long as this worker has the partition, and the jobs of all wait."""
    world = SharingWorld(RATE, seed=12, workers_count=2)
    world.workers[0].writer.refusal = refusal
    world.pass_s(2.0)
    before = len(world.begun)
    world.pass_s(5.0)
    assert len(world.begun) - before >= 0.9 * 5 * RATE.count
    check_rate(world, RATE)


@pytest.mark.parametrize("number", [0, 1], ids=["coordinator", "another"])
def test_a_reader_that_failed_for_good_is_replaced(number: int) -> None:
    """The next one goes on where it was, so the worker knows of each takeover, and the coordinator of each use."""
    world = SharingWorld(RATE, seed=13, workers_count=2, backlog=3_000)
    world.pass_s(2.0)
    world.workers[number].readers[0].fail()
    before = len(world.begun)
    world.pass_s(20.0)
    assert len(world.begun) - before >= 0.85 * 20 * RATE.count
    check_rate(world, RATE)
    (reader,) = world.workers[number].readers
    assert len(reader.clients) == 2


def test_a_reader_of_distant_limits_that_failed_for_good_goes_on_where_it_was() -> None:
    """The coordinator takes over no second time: limits of a second are given all the while, and the hour's soon."""
    hour = Rate(100, per=3_600 * SECOND, name="q.hour")
    world = SharingWorld(RATE, seed=14, workers_count=2, backlog=3_000, beside={"q.hour": hour}, is_stuck=True)
    world.pass_s(2.0)
    owner = world.workers[0]
    assert len(owner.readers) == 2
    term = owner.shares._coordinator._term
    assert term is not None
    assert term.known == {"q.limit"}
    owner.readers[1].fail()
    world.pass_s(3.0)
    assert len(owner.readers[1].clients) == 2
    assert owner.shares._coordinator._term is term
    assert term.known == {"q.limit", "q.hour"}
    before = len(world.begun)
    world.pass_s(5.0)
    assert len(world.begun) - before >= 0.9 * 5 * RATE.count
    check_rate(world, RATE)


def test_the_late_failure_of_a_former_takeover_ends_nothing_of_the_next_one() -> None:
    """The partition came back while the brokers had not answered; what is read for the present term goes on."""
    hour = Rate(100, per=3_600 * SECOND, name="q.hour")
    world = SharingWorld(RATE, seed=15, workers_count=1, beside={"q.hour": hour}, is_stuck=True)
    owner = world.workers[0]
    owner.shares._coordinator.turn(Reader(world.log), owner.writer)
    ((_, on_written),) = owner.writer.on_its_way
    owner.writer.on_its_way.clear()
    world.owner = None
    world.pass_s(STEP_S)
    world.owner = owner
    world.pass_s(2.0)
    coordinator = owner.shares._coordinator
    assert coordinator.is_reading_back
    on_written(KafkaError(KafkaError._MSG_TIMED_OUT), None)
    assert coordinator.is_reading_back
