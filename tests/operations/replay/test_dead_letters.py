"""Dead letters: what a reader lists, what a replay publishes, what it leaves out and refuses."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from stoker.operations.cli.dead_letter_output import dead_letter_row
from stoker.operations.replay.dead_letter_replay import DeadLetterManager, Discarding, Forecast, Request
from stoker.operations.replay.pacing import Published, ReplayPace
from stoker.operations.replay.payloads import PayloadCorrector, WantedCorrection
from stoker.operations.stored_jobs.dead_letters import DeadLetter, DeadLetterReader
from stoker.operations.stored_jobs.dispositions import DispositionVerdict
from stoker.operations.stored_jobs.errors import CorrectionsRefused, NoSuchDeadLetter, ReadStalled, TopicAbsent
from stoker.operations.stored_jobs.selection import Selection
from stoker.operations.stored_jobs.stored_job import Ref, StoredJob
from stoker.operations.stored_jobs.topic_reader import Span, TopicReader
from stoker.schemas import Contract, IncompatibleSchema, MemorySchemaStore
from stoker.topology import ClusterSettings
from stoker.topology.actor import operator_of_environment
from stoker.topology.wire import headers as wire
from support.kafka.configs import change_configs
from support.scenes.dead_letters import BROKEN, Bench, DeadJob, open_bench
from support.waiting import wait_until

ALL = Selection()


@pytest.fixture
def bench(cluster: ClusterSettings, namespace: str) -> Bench:
    """A queue without dead letters."""
    return open_bench(cluster, namespace)


def replaying(
    bench: Bench, correction: WantedCorrection | None = None, *, undecodable_too: bool = False
) -> DeadLetterManager:
    """A replay of the bench's dead letters."""
    payloads = PayloadCorrector(bench.pipeline, bench.store, correction=correction, undecodable_too=undecodable_too)
    return DeadLetterManager(bench.pipeline, bench.cluster, bench.queue, bench.replaying(payloads))


def carry_out(manager: DeadLetterManager, request: Request) -> tuple[Forecast, Published]:
    """Count and do."""
    forecast = manager.forecast(request)
    return forecast, manager.carry_out(request, forecast, ReplayPace())


def open_dead_letters(bench: Bench, selection: Selection = ALL, *, settled_too: bool = False) -> list[DeadLetter]:
    """What the reader lists."""
    reader = DeadLetterReader(bench.cluster, bench.queue)
    return list(reader.dead_letters(reader.survey(), selection, settled_too=settled_too))


def main_records(bench: Bench) -> dict[str, StoredJob]:
    """{job id: the record on the main topic}."""
    return {record.job_id: record for record in bench.records(bench.queue.topic)}


def test_a_replayed_job_is_the_original_with_fresh_attempts(bench: Bench) -> None:
    """Partition, key, bytes and headers stay as enqueued; what the failure added goes, the replay id comes."""
    bench.add_dead([DeadJob(order=4)])
    dead = bench.records(bench.queue.dead_topic)[0]
    request = Request(selection=ALL)
    carry_out(replaying(bench), request)

    job = main_records(bench)["job-4"]
    kept = [pair for pair in dead.raw_headers if pair[0] not in wire.RETRY_HEADERS]
    assert job.raw_headers == [*kept, (wire.REPLAY, request.action_id.encode())]
    assert (job.ref.partition, job.key, job.value) == (dead.ref.partition, dead.key, dead.value)


def test_a_replayed_job_may_be_deferred_for_another_seven_days(bench: Bench) -> None:
    """The replay of a job that no worker knew begins its time anew, or a worker would find it dead at once."""
    since = wire.format_instant(datetime(2013, 1, 1, tzinfo=UTC))
    bench.add_dead([DeadJob(order=4, extra=((wire.DEFERRED_SINCE, since),))])
    [found] = open_dead_letters(bench)
    assert dead_letter_row(found)["deferred_since"] == since.decode()
    carry_out(replaying(bench), Request(selection=ALL))
    assert main_records(bench)["job-4"].text(wire.DEFERRED_SINCE) == ""


def test_a_settled_dead_letter_leaves_the_list_and_is_replayed_again_only_when_asked(bench: Bench) -> None:
    """After a replay nothing is open; a second one publishes nothing, unless settled dead letters are asked for."""
    bench.add_dead(DeadJob(order=order) for order in range(7))
    assert len(open_dead_letters(bench)) == 7
    carry_out(replaying(bench), Request(selection=ALL))

    assert open_dead_letters(bench) == []
    assert [dead_letter.status for dead_letter in open_dead_letters(bench, settled_too=True)] == ["replayed"] * 7
    assert carry_out(replaying(bench), Request(selection=ALL))[1].units == 0
    assert set(bench.replayed_ids().values()) == {1}

    again = Request(selection=ALL, settled_too=True)
    forecast, published = carry_out(replaying(bench), again)
    assert (forecast.settled_before, published.units) == (7, 7)
    assert carry_out(replaying(bench), again)[1].units == 0  # the same replay continued
    assert set(bench.replayed_ids().values()) == {2}


def test_a_job_that_dies_again_is_a_dead_letter_of_its_own(bench: Bench) -> None:
    """A replayed job that fails again is open under its new reference, and replayed under a new id."""
    bench.add_dead([DeadJob(order=1)])
    carry_out(replaying(bench), Request(selection=ALL))
    bench.add_dead([DeadJob(order=1, extra=((wire.REPLAY, b"first-replay"),))])

    assert [dead_letter.record.replay for dead_letter in open_dead_letters(bench)] == ["first-replay"]
    request = Request(selection=ALL)
    carry_out(replaying(bench), request)
    replays = [record.replay for record in bench.records(bench.queue.topic)]
    assert len(replays) == 2
    assert replays[1] == request.action_id


def test_a_discarded_dead_letter_is_settled_with_its_reason_and_publishes_nothing(bench: Bench) -> None:
    """A discard leaves the main topic alone, and the file of the dead letter tells who, when and why."""
    bench.add_dead([DeadJob(order=1), DeadJob(order=2)])
    request = Request(selection=Selection(ids=frozenset({"job-1"})), reason="customer is gone")
    carry_out(DeadLetterManager(bench.pipeline, bench.cluster, bench.queue, Discarding()), request)

    assert bench.replayed_ids() == {}
    assert [dead_letter.record.job_id for dead_letter in open_dead_letters(bench)] == ["job-2"]
    (done,) = DeadLetterReader(bench.cluster, bench.queue).history("job-1").dispositions
    assert (done.verdict, done.reason, done.action_id) == (
        DispositionVerdict.DISCARDED,
        "customer is gone",
        request.action_id,
    )
    assert "@" in done.operator


def test_undecodable_and_unknown_dead_letters_are_left_out_unless_asked_for(bench: Bench) -> None:
    """What today's code cannot read stays open with the reason counted; asked for, it is published byte for byte."""
    bench.add_dead([DeadJob(order=0), DeadJob(order=1, value=BROKEN), DeadJob(order=2, job_type="removed_job")])
    forecast, published = carry_out(replaying(bench), Request(selection=ALL))
    assert published.units == forecast.total == 1
    assert sum(forecast.left_out.values()) == 2
    assert any("removed_job" in reason for reason in forecast.left_out)

    assert carry_out(replaying(bench, undecodable_too=True), Request(selection=ALL))[1].units == 2
    assert main_records(bench)["job-1"].value == BROKEN


def test_the_limit_counts_dead_letters_that_can_be_replayed(bench: Bench) -> None:
    """Dead letters that are left out do not use up the limit, or they would block those behind them for ever."""
    bench.add_dead(
        [*(DeadJob(order=3 * n, value=BROKEN) for n in range(5)), *(DeadJob(order=30 + 3 * n) for n in range(5))]
    )
    forecast, published = carry_out(replaying(bench), Request(selection=Selection(limit=3)))
    assert (forecast.total, published.units) == (3, 3)
    assert sorted(main_records(bench)) == ["job-30", "job-33", "job-36"]


def test_a_correction_goes_through_the_schema(bench: Bench) -> None:
    """A corrected field is in the replayed payload, the others are as they were."""
    bench.add_dead([DeadJob(order=5)])
    carry_out(replaying(bench, WantedCorrection(fields={"note": "paid by hand"})), Request(selection=ALL))
    assert main_records(bench)["job-5"].value == bench.payload(5, "paid by hand")


def test_a_whole_payload_mends_an_undecodable_dead_letter(bench: Bench) -> None:
    """A dead letter whose bytes are no payload can be replayed with a payload given for it."""
    bench.add_dead([DeadJob(order=5, value=BROKEN)])
    correction = WantedCorrection(payload={"order": 5, "note": "typed in"})
    carry_out(replaying(bench, correction), Request(selection=Selection(refs=frozenset({Ref(2, 0)}))))
    assert main_records(bench)["job-5"].value == bench.payload(5, "typed in")


def test_looking_at_a_correction_registers_no_contract(bench: Bench) -> None:
    """A dry run changes nothing; the replay itself registers what the corrected payloads are framed with."""
    bench = replace(bench, store=MemorySchemaStore())
    bench.add_dead([DeadJob(order=1)])
    manager, request = replaying(bench, WantedCorrection(fields={"note": "fixed"})), Request(selection=ALL)
    forecast = manager.forecast(request)
    assert [str(field) for field in forecast.corrections[0].fields] == ['note: "" → "fixed"']
    assert list(bench.store.versions("charge")) == []

    manager.carry_out(request, forecast, ReplayPace())
    assert [stored.schema for stored in bench.store.versions("charge")] == [bench.charge.contract.schema]
    assert main_records(bench)["job-1"].value == bench.payload(1, "fixed")


def test_a_correction_whose_contract_cannot_be_registered_is_refused_at_the_look(bench: Bench) -> None:
    """Before anybody is asked to go on."""

    def charge(order: str) -> None:
        """Charge an order, by an earlier contract that this one cannot read."""

    bench = replace(bench, store=MemorySchemaStore())
    bench.store.register(Contract.of_function(charge, job_type="charge", namespace=bench.pipeline.namespace))
    bench.add_dead([DeadJob(order=1)])
    with pytest.raises(IncompatibleSchema):
        replaying(bench, WantedCorrection(fields={"note": "fixed"})).forecast(Request(selection=ALL))


@pytest.mark.parametrize(
    ("correction", "field"),
    [
        (WantedCorrection(fields={"order": "many"}), "'order'"),
        (WantedCorrection(fields={"ordr": 1}), "'ordr'"),
        (WantedCorrection(fields={"note.deep": 1}), "'note.deep'"),
        (WantedCorrection(payload={"note": "no order"}), "'order'"),
        (WantedCorrection(payload=None), "payload"),
        (WantedCorrection(fields={"note": "x" * 1_000}), "limit of 1000"),
    ],
    ids=["wrong type", "unknown field", "no object", "missing field", "null", "too large"],
)
def test_a_refused_correction_names_the_field_and_nothing_is_published(
    bench: Bench, correction: WantedCorrection, field: str
) -> None:
    """One payload that does not fit holds the whole selection back."""
    bench.add_dead([DeadJob(order=5), DeadJob(order=6)])
    with pytest.raises(
        CorrectionsRefused, match=r"2 corrected payloads .* nothing was published; change --set or --payload"
    ) as refused:
        replaying(bench, correction).forecast(Request(selection=ALL))
    assert field in str(refused.value)
    assert len(open_dead_letters(bench)) == 2


def test_expired_jobs_are_counted_and_can_be_freed_of_their_expiry(bench: Bench) -> None:
    """A job that would be dropped for its expiry is reported beforehand, and runs when the expiry is taken off."""
    past = wire.format_instant(datetime.now(UTC) - timedelta(hours=1))
    bench.add_dead([DeadJob(order=1, extra=((wire.EXPIRES, past),)), DeadJob(order=2)])
    assert replaying(bench).forecast(Request(selection=ALL)).expired == 1

    forecast, _ = carry_out(replaying(bench), Request(selection=ALL, keep_expiry=False))
    assert forecast.expired == 0
    assert wire.EXPIRES not in main_records(bench)["job-1"].headers


def test_dead_letters_that_die_during_a_replay_wait_for_the_next_one(bench: Bench) -> None:
    """Only what was counted is published."""
    bench.add_dead([DeadJob(order=1)])
    manager, request = replaying(bench), Request(selection=ALL)
    forecast = manager.forecast(request)
    bench.add_dead([DeadJob(order=4)])
    assert manager.carry_out(request, forecast, ReplayPace()).units == 1
    assert [dead_letter.record.job_id for dead_letter in open_dead_letters(bench)] == ["job-4"]


def test_an_audit_record_tells_the_beginning_and_the_end(bench: Bench) -> None:
    """The audit topic says what was done under which id, by whom, with counts and filters."""
    bench.add_dead([DeadJob(order=1), DeadJob(order=2)])
    carry_out(replaying(bench), Request(selection=Selection(job_types=frozenset({"charge"}))))
    begun, ended = bench.wait_audits(2)
    assert (begun.action, begun.phase, begun.queue) == ("dead-letters-replayed", "begun", "orders")
    assert (begun.detail["counts"], begun.detail["filters"]) == ('{"charge": 2}', '{"job_types": ["charge"]}')
    assert (ended.phase, ended.detail["done"]) == ("ended", "2")
    assert (ended.action_id, ended.began, ended.operator) == (begun.action_id, begun.at, operator_of_environment())


def test_the_time_of_death_selects(bench: Bench) -> None:
    """Since and until look at when the dead letter was written."""
    old, new = datetime(2013, 1, 1, tzinfo=UTC), datetime.now(UTC)
    bench.add_dead([DeadJob(order=1, died_at=old), DeadJob(order=2, died_at=new)])
    listed = open_dead_letters(bench, Selection(until=old + timedelta(seconds=1)))
    assert [dead_letter.record.job_id for dead_letter in listed] == ["job-1"]


@pytest.mark.expected_errors("MSG_SIZE_TOO_LARGE", "skipped sequence")
def test_a_dead_letter_too_large_for_the_topic_is_left_out_alone(bench: Bench) -> None:
    """A record that the broker refuses stays open with its reason, and the rest of its batch is published."""
    narrow(bench, max_message_bytes=5_000)
    note = os.urandom(10_000).hex()  # what can be compressed would fit
    large = bench.store.frame(bench.charge.contract, bench.charge.contract.encode({"order": 3, "note": note}))
    bench.add_dead(
        [DeadJob(order=0), DeadJob(order=1), DeadJob(order=3, value=large), DeadJob(order=4), DeadJob(order=6)]
    )
    _, published = carry_out(replaying(bench), Request(selection=ALL))
    assert (published.units, published.refused) == (4, 1)
    assert published.refusals[0].unit.label == "0/1"
    assert [dead_letter.record.job_id for dead_letter in open_dead_letters(bench)] == ["job-3"]
    assert bench.replayed_ids() == {"job-0": 1, "job-1": 1, "job-4": 1, "job-6": 1}


def narrow(bench: Bench, *, max_message_bytes: int) -> None:
    """Lower the main topic's limit for a record."""
    change_configs(bench.cluster, {bench.queue.topic: {"max.message.bytes": str(max_message_bytes)}})


def test_a_log_that_ends_in_transaction_markers_is_read_to_its_end(bench: Bench) -> None:
    """Aborted records and markers leave offsets that never come; the reading ends all the same."""
    producer = Producer(bench.cluster.client_config(transactional_id=f"{bench.queue.topic}.test"))
    producer.init_transactions(20)
    for commits in (True, False):
        producer.begin_transaction()
        producer.produce(bench.queue.dead_topic, b"x", partition=0, headers=[(wire.JOB_ID, b"t")])
        producer.flush(20)
        producer.commit_transaction() if commits else producer.abort_transaction()
    producer.close()
    with TopicReader(bench.cluster, bench.queue.dead_topic, stall_s=5.0) as reader:
        whole = Span(partition=0, start=0, end=4)  # two records, a marker after each: it is written after the answer
        wait_until(lambda: reader.spans()[0] == whole, what="the last marker")
        assert len(list(reader.read(reader.spans()))) == 1


def test_a_reading_that_stops_is_an_error_not_a_short_list(bench: Bench) -> None:
    """Where the log ought to go on and nothing comes, the reader says so instead of listing what it has."""
    silent = TopicReader(ClusterSettings(bootstrap_servers="127.0.0.1:9"), bench.queue.dead_topic, stall_s=0.5)
    with silent as reader, pytest.raises(ReadStalled, match="partition 0"):
        list(reader.read([Span(partition=0, start=0, end=1)]))


def test_an_absent_topic_names_the_command_that_makes_it(cluster: ClusterSettings, namespace: str) -> None:
    """Without the queue's topics the reader says how to create them."""
    bench = open_bench(cluster, namespace, create=False)
    with pytest.raises(TopicAbsent, match="stoker topology apply"):
        DeadLetterReader(cluster, bench.queue).survey()


@pytest.mark.parametrize("wanted", ["job-99", "0/99", "99/0"])
def test_an_unknown_dead_letter_is_an_error_that_says_how_to_name_one(bench: Bench, wanted: str) -> None:
    """Neither a foreign id nor a reference outside the log finds anything."""
    with pytest.raises(NoSuchDeadLetter, match="partition/offset"):
        DeadLetterReader(bench.cluster, bench.queue).history(wanted)
