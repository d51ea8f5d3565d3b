"""Two letters of one attempt, left by a crash between a dead letter and its ledger entry, are one letter everywhere."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stoker.consumers.partitions.ledger import tried_name
from stoker.consumers.records.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.operations.replay.pacing import Pace
from stoker.operations.replay.settling import Discarding, Request, Settlement
from stoker.operations.status.queues import count_open_letters
from stoker.operations.stored_jobs.dead_letters import DeadLetterDesk, Letter
from stoker.operations.stored_jobs.dispositions import disposition_of
from stoker.operations.stored_jobs.job_record import JobRecord, Ref
from stoker.operations.stored_jobs.selection import Selection
from stoker.operations.stored_jobs.twins import Repetitions, attempt_digest
from stoker.topology import ClusterSettings
from stoker.topology.wire import headers as wire
from stoker.topology.wire.ledger_names import attempt_name, deduplication_id
from support.scenes.dead_letters import Bench, Grave, open_bench

ALL = Selection()
MANY = 5_000


@pytest.fixture
def bench(cluster: ClusterSettings, namespace: str) -> Bench:
    """Job 1 has two letters, with another job's between them; jobs 4 and 5 have one each."""
    bench = open_bench(cluster, namespace)
    bench.bury([Grave(order=1), Grave(order=4), Grave(order=1, error="builtins.TimeoutError"), Grave(order=5)])
    return bench


def letters(bench: Bench, selection: Selection = ALL, *, settled_too: bool = False) -> list[Letter]:
    """What the desk lists."""
    desk = DeadLetterDesk(bench.cluster, bench.queue)
    return list(desk.letters(desk.survey(), selection, settled_too=settled_too))


def replay(bench: Bench, request: Request) -> int:
    """Replay, and say how many letters that were."""
    settlement = Settlement(bench.pipeline, bench.cluster, bench.queue, bench.replaying())
    return settlement.carry_out(request, settlement.forecast(request), Pace()).units


def test_twins_are_listed_and_counted_as_one(bench: Bench) -> None:
    """The first letter stands for both and names the other, whichever of them is asked for."""
    listed = letters(bench)
    assert sorted(letter.record.job_id for letter in listed) == ["job-1", "job-4", "job-5"]
    assert count_open_letters(bench.cluster, bench.queue) == 3
    (one,) = (letter for letter in listed if letter.record.job_id == "job-1")
    (twin,) = one.twins
    assert twin > one.record.ref
    assert [found.record.ref for found in letters(bench, Selection(refs=frozenset({twin})))] == [one.record.ref]

    desk = DeadLetterDesk(bench.cluster, bench.queue)
    assert (desk.file("job-1").record.ref, desk.file("job-1").twins) == (one.record.ref, [twin])
    assert (desk.file(str(twin)).record.ref, desk.file(str(twin)).twins) == (twin, [one.record.ref])


def test_twins_are_replayed_as_one_and_both_are_settled(bench: Bench) -> None:
    """The job is published once, each twin has its disposition, and naming the other twin replays nothing more."""
    assert replay(bench, Request(selection=ALL)) == 3
    assert set(bench.replayed_ids().values()) == {1}
    records = bench.records(bench.queue.dead_topic)
    settled = [found.settles for record in records if (found := disposition_of(record)) is not None]
    assert len(settled) == len(set(settled)) == 4

    (one,) = letters(bench, Selection(ids=frozenset({"job-1"})), settled_too=True)
    assert one.status == "replayed"
    assert replay(bench, Request(selection=Selection(refs=frozenset(one.twins)))) == 0


def test_a_twin_that_comes_after_the_replay_is_settled_already(bench: Bench) -> None:
    """The worker that took over may write its letter late: it is not replayed again, also when asked for by name."""
    request = Request(selection=ALL, settled_too=True)
    replay(bench, request)
    bench.bury([Grave(order=4)])

    assert letters(bench) == []
    late = max(record.ref for record in bench.records(bench.queue.dead_topic) if record.job_id == "job-4")
    assert replay(bench, Request(selection=Selection(refs=frozenset({late})))) == 0
    assert replay(bench, request) == 0  # the same replay continued
    assert bench.replayed_ids()["job-4"] == 1
    assert DeadLetterDesk(bench.cluster, bench.queue).file(str(late)).dispositions


def test_a_discard_of_one_twin_covers_the_other(bench: Bench) -> None:
    """Discarded by the reference of its second letter, the job is gone from the list."""
    (one,) = letters(bench, Selection(ids=frozenset({"job-1"})))
    request = Request(selection=Selection(refs=frozenset(one.twins)), note="customer is gone")
    settlement = Settlement(bench.pipeline, bench.cluster, bench.queue, Discarding())
    assert settlement.forecast(request).total == 1
    settlement.carry_out(request, settlement.forecast(request), Pace())

    assert sorted(letter.record.job_id for letter in letters(bench)) == ["job-4", "job-5"]
    assert replay(bench, Request(selection=ALL)) == 2
    assert "job-1" not in bench.replayed_ids()


def dead(number: int, *pairs: tuple[str, bytes], offset: int | None = None, partition: int = 0) -> JobRecord:
    """A letter of a job of that number."""
    named = dict(
        [(wire.JOB_ID, b"job-%d" % number), (wire.ORIGIN, b"ns.q/0/%d" % number), (wire.ATTEMPT, b"5"), *pairs]
    )
    ref = Ref(partition, number if offset is None else offset)
    return JobRecord(ref=ref, at=datetime.now(UTC), key=None, value=b"", raw_headers=list(named.items()))


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
def test_what_differs_in_one_part_of_the_name_is_no_twin(other: JobRecord) -> None:
    """A job that dies again after a replay, or another attempt of it, is a letter of its own."""
    assert attempt_digest(dead(1)) != attempt_digest(other)


def test_a_letter_that_does_not_name_its_attempt_has_no_twin() -> None:
    """Without an origin nothing is known of the attempt, so two such letters stay two."""
    assert attempt_digest(dead(1, (wire.ORIGIN, b""))) is None


def test_twins_have_the_name_under_which_the_ledger_knows_the_attempt() -> None:
    """What the worker takes for one attempt, and the desk, never differ."""

    class Delivered:
        """A message with the headers of a letter."""

        def __getattr__(self, name: str) -> object:
            values = {"headers": letter.raw_headers, "offset": 1, "key": None, "value": b"", "timestamp": (1, 1)}
            return lambda: values[name]

    letter = dead(7, (wire.REPLAY, b"r"))
    record = Record(Delivered(), Assignment(1, "ns.q", 0))  # type: ignore[arg-type]  # as much of a message as is read
    headers = letter.headers
    assert tried_name(record) == attempt_name(deduplication_id(headers), headers[wire.ORIGIN], headers[wire.ATTEMPT])


def test_few_letters_are_doubted_and_no_twin_is_missed() -> None:
    """Of many letters in one filter, each repetition is found, and few others are held for the second reading."""
    stream = [dead(number) for number in range(MANY)]
    stream += [dead(number, offset=MANY + number) for number in range(0, MANY, 1_000)]
    found = Repetitions(len(stream))
    for letter in stream:
        found.note(letter)
    assert len(found.digests) < MANY // 100
    twins = found.twins(stream)
    assert [number for number in range(MANY) if len(twins.of(Ref(0, number))) > 1] == list(range(0, MANY, 1_000))
