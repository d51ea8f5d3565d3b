"""Replay of a queue publishes a fixed stretch again, each record once, whatever kills it."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from stoker.operations.replay import pacing
from stoker.operations.replay.pacing import ReplayPace
from stoker.operations.replay.queue_replay import Bounds, QueueReplay, Stretch
from stoker.operations.stored_jobs.errors import FiltersTooLong, UnknownReplay
from stoker.operations.stored_jobs.selection import Selection
from stoker.operations.stored_jobs.stored_job import StoredJob
from stoker.topology import ClusterSettings
from stoker.topology.wire import headers as wire
from support.scenes.dead_letters import PARTITIONS, Bench, open_bench
from support.scenes.killed_replay import lines_until_killed

JOBS = 130


@pytest.fixture
def bench(cluster: ClusterSettings, namespace: str) -> Bench:
    """A queue with jobs on its main topic."""
    bench = open_bench(cluster, namespace)
    bench.enqueue(range(JOBS), (wire.TRACE_PARENT, b"00-aa-bb-01"), ("tenant", b"north"))
    return bench


def replay_of(bench: Bench) -> QueueReplay:
    """A replay of the bench's queue."""
    return QueueReplay(bench.pipeline, bench.cluster, bench.queue)


def run(bench: Bench, stretch: Stretch, pace: ReplayPace | None = None) -> int:
    """Carry a stretch out; how many jobs were published."""
    replay = replay_of(bench)
    return replay.carry_out(stretch, replay.count(stretch), pace or ReplayPace()).units


def copies(bench: Bench, replay_id: str) -> list[StoredJob]:
    """What the replay has published."""
    return [record for record in bench.records(bench.queue.topic) if record.replay == replay_id]


def test_a_replay_killed_and_continued_publishes_each_job_once(bench: Bench) -> None:
    """SIGKILL before and after commits; continued by its id, the replay has published every job exactly once."""
    replay_id = "-"
    # transactions: 1 progress, 2 audit, then batches of 20; a continued one begins with the audit record
    for batch, place in ((4, "produced"), (2, "produced"), (2, "committed"), (3, "produced")):
        replay_process = lines_until_killed(*bench.address, "queue", replay_id, str(batch), place)
        replay_id = next(replay_process)
        assert next(replay_process) == place
        replay_process.close()

    left = run(bench, replay_of(bench).begun_stretch(replay_id))
    assert left == JOBS - 20 - 0 - 20 - 20
    assert Counter(record.job_id for record in copies(bench, replay_id)) == {f"job-{n}": 1 for n in range(JOBS)}
    assert replay_of(bench).begun_stretch(replay_id).spans == []


def test_a_replayed_job_differs_by_the_replay_id_alone(bench: Bench) -> None:
    """Partition, key, bytes and foreign headers stay; the replay's id is added."""
    originals = {record.job_id: record for record in bench.records(bench.queue.topic)}
    stretch = replay_of(bench).stretch(Bounds(), Selection())
    assert run(bench, stretch) == JOBS

    for copy in copies(bench, stretch.replay_id):
        original = originals[copy.job_id]
        assert (copy.ref.partition, copy.key, copy.value) == (original.ref.partition, original.key, original.value)
        assert copy.raw_headers == [*original.raw_headers, (wire.REPLAY, stretch.replay_id.encode())]


def test_a_replay_never_replays_what_came_after_it_began(bench: Bench) -> None:
    """Jobs enqueued after the stretch was fixed, and the replay's own output, are not part of it."""
    stretch = replay_of(bench).stretch(Bounds(), Selection())
    bench.enqueue(range(1_000, 1_010))
    assert run(bench, stretch) == JOBS

    whole = replay_of(bench).stretch(Bounds(), Selection())
    counts = replay_of(bench).count(whole)
    assert (counts.tally.total, counts.replays_left_out) == (JOBS + 10, JOBS)
    with_replays = replay_of(bench).stretch(Bounds(), Selection(), replays_too=True)
    assert replay_of(bench).count(with_replays).tally.total == 2 * JOBS + 10


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (Bounds(starts={1: 3}, ends={1: 5}), {f"job-{1 + 3 * place}" for place in (3, 4)}),
        (Bounds(start=42), {"job-126", "job-127", "job-128", "job-129"}),
        (Bounds(start=0, end=1), {"job-0", "job-1", "job-2"}),
        (Bounds(starts={2: 40}), {f"job-{2 + 3 * place}" for place in (40, 41, 42)}),
        (Bounds(start=datetime.now(UTC) + timedelta(days=1)), set()),
        (Bounds(start=0, end=datetime.now(UTC) - timedelta(days=1)), set()),
    ],
    ids=["one partition", "from in all", "to in all", "end left open", "time to come", "time gone by"],
)
def test_bounds_choose_the_stretch(bench: Bench, bounds: Bounds, expected: set[str]) -> None:
    """Offsets, for one partition or all, and times bound what is replayed; the end is excluded."""
    stretch = replay_of(bench).stretch(bounds, Selection())
    assert replay_of(bench).count(stretch).tally.total == len(expected)
    if expected:
        run(bench, stretch)
    assert {record.job_id for record in copies(bench, stretch.replay_id)} == expected


def test_a_replay_from_a_time_takes_what_was_published_since(bench: Bench) -> None:
    """The beginning by time is the first record published at or after it."""
    last = max(record.at for record in bench.records(bench.queue.topic))
    cut = last + timedelta(milliseconds=1)
    producer_time_passed = cut  # record timestamps have milliseconds, so the next one must be later than `last`
    while datetime.now(UTC) <= producer_time_passed:
        threading.Event().wait(0.001)
    bench.enqueue(range(500, 503))
    stretch = replay_of(bench).stretch(Bounds(start=cut), Selection())
    assert run(bench, stretch) == PARTITIONS
    assert {record.job_id for record in copies(bench, stretch.replay_id)} == {"job-500", "job-501", "job-502"}


def test_a_replay_is_stopped_also_while_it_looks_for_jobs_that_fit(bench: Bench) -> None:
    """Where few of very many fit, the next one may be minutes away."""
    stretch, stop, replay = (
        replay_of(bench).stretch(Bounds(), Selection(ids=frozenset({"nobody"}))),
        threading.Event(),
        replay_of(bench),
    )
    stop.set()
    assert replay.carry_out(stretch, replay.count(stretch), ReplayPace(stop=stop)).is_stopped
    assert replay.begun_stretch(stretch.replay_id).spans == stretch.spans


def test_a_stopped_replay_continues_with_its_bounds_and_filters(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stopped goes on under the same id, with the filters it was begun with."""
    monkeypatch.setattr(pacing, "MAX_BATCH_UNITS", 2)
    selection = Selection(ids=frozenset({"job-3", "job-4", "job-5", "job-6", "job-7"}))
    stretch, stop, replay = replay_of(bench).stretch(Bounds(), selection), threading.Event(), replay_of(bench)

    stopped = replay.carry_out(stretch, replay.count(stretch), ReplayPace(stop=stop), lambda _: stop.set())
    assert (stopped.units, stopped.is_stopped) == (2, True)

    rest = replay.begun_stretch(stretch.replay_id)
    assert rest.selection == selection
    assert run(bench, rest) == 3
    assert Counter(record.job_id for record in copies(bench, stretch.replay_id)) == dict.fromkeys(selection.ids, 1)
    actions = [(entry.action, entry.phase) for entry in bench.wait_audits(4)]
    assert sorted(actions) == [("queue-replayed", phase) for phase in ("begun", "begun", "ended", "stopped")]


def test_an_unknown_replay_cannot_be_continued(bench: Bench) -> None:
    """Continuing an id that the brokers do not know is refused by name."""
    with pytest.raises(UnknownReplay, match="no-such-replay"):
        replay_of(bench).begun_stretch("no-such-replay")


def test_filters_that_cannot_be_kept_are_refused(bench: Bench) -> None:
    """Filters beyond what fits beside an offset are refused before anything is published."""
    many = Selection(ids=frozenset(f"job-{number:06}" for number in range(1_000)))
    with pytest.raises(FiltersTooLong):
        replay_of(bench).stretch(Bounds(), many)
