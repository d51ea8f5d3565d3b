"""Two dead letters of one attempt, left by a crash before the ledger entry, count as one everywhere."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stoker.consumers.partitions.ledger import tried_name
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.operations.queue_status.queues import count_open_dead_letters
from stoker.operations.replay.dead_letter_replay import DeadLetterManager, Discarding, Request
from stoker.operations.replay.pacing import ReplayPace
from stoker.operations.stored_jobs.dead_letters import DeadLetter, DeadLetterReader
from stoker.operations.stored_jobs.dispositions import disposition_of
from stoker.operations.stored_jobs.selection import Selection
from stoker.operations.stored_jobs.stored_job import Ref, StoredJob
from stoker.operations.stored_jobs.twins import PossibleTwins, attempt_digest
from stoker.topology import ClusterSettings
from stoker.topology.wire import headers as wire
from stoker.topology.wire.ledger_names import attempt_name, deduplication_id
from support.scenes.dead_letters import Bench, DeadJob, open_bench

ALL = Selection()
MANY = 5_000


@pytest.fixture
def bench(cluster: ClusterSettings, namespace: str) -> Bench:
    """Job 1 has two dead letters, with another job's between them; jobs 4 and 5 have one each."""
    bench = open_bench(cluster, namespace)
    bench.add_dead(
        [DeadJob(order=1), DeadJob(order=4), DeadJob(order=1, error="builtins.TimeoutError"), DeadJob(order=5)]
    )
    return bench


def dead_letters(bench: Bench, selection: Selection = ALL, *, settled_too: bool = False) -> list[DeadLetter]:
    """What the reader lists."""
    reader = DeadLetterReader(bench.cluster, bench.queue)
    return list(reader.dead_letters(reader.survey(), selection, settled_too=settled_too))


def replay(bench: Bench, request: Request) -> int:
    """Replay, and say how many dead letters that were."""
    manager = DeadLetterManager(bench.pipeline, bench.cluster, bench.queue, bench.replaying())
    return manager.carry_out(request, manager.forecast(request), ReplayPace()).units


def test_twins_are_listed_and_counted_as_one(bench: Bench) -> None:
    """The first dead letter stands for both and names the other, whichever of them is asked for."""
    listed = dead_letters(bench)
    assert sorted(dead_letter.record.job_id for dead_letter in listed) == ["job-1", "job-4", "job-5"]
    assert count_open_dead_letters(bench.cluster, bench.queue) == 3
    (one,) = (dead_letter for dead_letter in listed if dead_letter.record.job_id == "job-1")
    (twin,) = one.twins
    assert twin > one.record.ref
    assert [found.record.ref for found in dead_letters(bench, Selection(refs=frozenset({twin})))] == [one.record.ref]

    reader = DeadLetterReader(bench.cluster, bench.queue)
    assert (reader.history("job-1").record.ref, reader.history("job-1").twins) == (one.record.ref, [twin])
    assert (reader.history(str(twin)).record.ref, reader.history(str(twin)).twins) == (twin, [one.record.ref])


def test_twins_are_replayed_as_one_and_both_are_settled(bench: Bench) -> None:
    """The job is published once, each twin has its disposition, and naming the other twin replays nothing more."""
    assert replay(bench, Request(selection=ALL)) == 3
    assert set(bench.replayed_ids().values()) == {1}
    records = bench.records(bench.queue.dead_topic)
    settled = [found.settles for record in records if (found := disposition_of(record)) is not None]
    assert len(settled) == len(set(settled)) == 4

    (one,) = dead_letters(bench, Selection(ids=frozenset({"job-1"})), settled_too=True)
    assert one.status == "replayed"
    assert replay(bench, Request(selection=Selection(refs=frozenset(one.twins)))) == 0


def test_a_twin_that_comes_after_the_replay_is_settled_already(bench: Bench) -> None:
    """The next owner may write its dead letter late: it is not replayed again, also when asked for by name."""
    request = Request(selection=ALL, settled_too=True)
    replay(bench, request)
    bench.add_dead([DeadJob(order=4)])

    assert dead_letters(bench) == []
    late = max(record.ref for record in bench.records(bench.queue.dead_topic) if record.job_id == "job-4")
    assert replay(bench, Request(selection=Selection(refs=frozenset({late})))) == 0
    assert replay(bench, request) == 0  # the same replay continued
    assert bench.replayed_ids()["job-4"] == 1
    assert DeadLetterReader(bench.cluster, bench.queue).history(str(late)).dispositions


def test_a_discard_of_one_twin_covers_the_other(bench: Bench) -> None:
    """Discarded by the reference of its second dead letter, the job is gone from the list."""
    (one,) = dead_letters(bench, Selection(ids=frozenset({"job-1"})))
    request = Request(selection=Selection(refs=frozenset(one.twins)), reason="customer is gone")
    manager = DeadLetterManager(bench.pipeline, bench.cluster, bench.queue, Discarding())
    assert manager.forecast(request).total == 1
    manager.carry_out(request, manager.forecast(request), ReplayPace())

    assert sorted(dead_letter.record.job_id for dead_letter in dead_letters(bench)) == ["job-4", "job-5"]
    assert replay(bench, Request(selection=ALL)) == 2
    assert "job-1" not in bench.replayed_ids()


def dead(number: int, *pairs: tuple[str, bytes], offset: int | None = None, partition: int = 0) -> StoredJob:
    """A dead letter of a job of that number."""
    named = dict(
        [(wire.JOB_ID, b"job-%d" % number), (wire.ORIGIN, b"ns.q/0/%d" % number), (wire.ATTEMPT, b"5"), *pairs]
    )
    ref = Ref(partition, number if offset is None else offset)
    return StoredJob(ref=ref, at=datetime.now(UTC), key=None, value=b"", raw_headers=list(named.items()))


@pytest.mark.parametrize(
    "other",
    [
        dead(1, (wire.ATTEMPT, b"4")),
        dead(1, (wire.ORIGIN, b"ns.q/0/2")),
        dead(1, (wire.REPLAY, b"r1")),
        dead(1, (wire.IDEMPOTENCY_KEY, b"k")),
        dead(1, (wire.JOB_ID, b"job-2")),
        dead(1, partition=1),
    ],
    ids=["attempt", "origin", "replay", "idempotency key", "job", "partition"],
)
def test_what_differs_in_one_part_of_the_name_is_no_twin(other: StoredJob) -> None:
    """A job that dies again after a replay, or another attempt of it, is a dead letter of its own."""
    assert attempt_digest(dead(1)) != attempt_digest(other)


def test_a_dead_letter_that_does_not_name_its_attempt_has_no_twin() -> None:
    """Without an origin nothing is known of the attempt, so two such dead letters stay two."""
    assert attempt_digest(dead(1, (wire.ORIGIN, b""))) is None


def test_twins_have_the_name_under_which_the_ledger_knows_the_attempt() -> None:
    """What the worker takes for one attempt, and the reader of dead letters, never differ."""

    class Delivered:
        """A message with the headers of a dead letter."""

        def __getattr__(self, name: str) -> object:
            values = {"headers": dead_letter.raw_headers, "offset": 1, "key": None, "value": b"", "timestamp": (1, 1)}
            return lambda: values[name]

    dead_letter = dead(7, (wire.REPLAY, b"r"))
    record = Record(Delivered(), Assignment(1, "ns.q", 0))  # type: ignore[arg-type]  # as much of a message as is read
    headers = dead_letter.headers
    assert tried_name(record) == attempt_name(deduplication_id(headers), headers[wire.ORIGIN], headers[wire.ATTEMPT])


def test_few_dead_letters_are_doubted_and_no_twin_is_missed() -> None:
    """Of many dead letters in one filter, each repetition is found, and few others are held for the second reading."""
    stream = [dead(number) for number in range(MANY)]
    stream += [dead(number, offset=MANY + number) for number in range(0, MANY, 1_000)]
    found = PossibleTwins(len(stream))
    for dead_letter in stream:
        found.note(dead_letter)
    assert len(found.digests) < MANY // 100
    twins = found.twins(stream)
    assert [number for number in range(MANY) if len(twins.of(Ref(0, number))) > 1] == list(range(0, MANY, 1_000))
