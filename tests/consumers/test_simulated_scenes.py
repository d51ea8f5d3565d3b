"""Scenes that chance seldom plays, in the simulation of `test_simulation.py`, with its checks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest
from confluent_kafka import TopicPartition

from simulation.clients import Fate, end_of
from simulation.commands import Enqueue, Revoke
from simulation.oracles.uniqueness import MODES
from simulation.play import KEYED, Play, begin
from simulation.processes import SimProcess
from simulation.virtual_time import CLOCK
from simulation.world import TIERS, Ending, Shape
from stoker.consumers.rebalance.rebalance import RETAKE_WITHIN_S
from stoker.consumers.sources.source import MAIN, Delay
from stoker.consumers.steps.schema_waits import AwaitedSchema
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire.headers import ERROR_STACK, JOB_ID

pytestmark = pytest.mark.usefixtures("simulated_time")
STRICT = Shape(ordering="strict")
SHORT_LIVED = Shape(is_short_lived=True, goes_back=True)


def run_next(play: Play, process: SimProcess, ending: Ending, fates: Sequence[Fate] = ()) -> None:
    """Run the first ready record to its end, and settle it."""
    play.world.start(process, 0)
    play.world.end(process, 0, ending)
    play.world.settle(process, fates, lambda: None)
    process.reread()
    play.check()


def ready(process: SimProcess) -> list[str]:
    """The jobs that may begin."""
    return [record.headers[JOB_ID].decode() for record in process.startable]


def test_a_commit_that_was_refused_is_sent_again_though_nothing_changes() -> None:
    """Else the last job of a quiet partition would be delivered once more after a restart."""
    play, process = begin(Shape(), 1)
    run_next(play, process, "done")
    process.completion.note_settled()
    process.commit()
    process.answer_commit("refused")
    play.turn(process)
    assert play.world.brokers.committed[play.world.queue.topic, 0][0] == 1
    play.finish()


def test_a_strict_partition_flows_only_when_its_tiers_have_shown_which_keys_wait() -> None:
    """The main topic's partition is assigned and opened first: its second job waits for the first one's retry."""
    play, former = begin(STRICT, 2)
    run_next(play, former, "fail")
    play.turn(former)
    play.world.kill(former)
    play.world.expire(former)
    process = play.world.join(0.0)
    play.world.assign(process, 0, in_parts=True)
    for _ in range(len(play.world.topics)):
        play.world.restore(process)
        process.begin_restored()
        process.commit()
        while process.unanswered:
            process.answer_commit("done")
        process.begin_restored()
        process.fetch(20)
        assert ready(process) == []
    assert process.parts.lanes.parked_records() != []
    play.finish()


def take_over_while_one_fails(play: Play, former: SimProcess, *, in_parts: bool) -> SimProcess:
    """The first job has failed in a process that the group takes for dead, and is not settled; another takes over."""
    play.world.start(former, 0)
    play.world.end(former, 0, "fail", is_kept=True)
    play.world.expire(former)
    process = play.world.join(0.0)
    play.world.assign(process, 0, in_parts=in_parts)
    return process


@pytest.mark.parametrize("asked", range(5))
def test_a_retry_that_is_written_while_its_partition_is_restored_goes_ahead_of_its_key(asked: int) -> None:
    """By a process that was cut off: where the ledger names the attempt before, the tier has shown the retry."""
    play, former = begin(STRICT, 2)
    process = take_over_while_one_fails(play, former, in_parts=False)
    questions: list[None] = []

    def settle_once() -> None:
        questions.append(None)
        if len(questions) == asked + 1:
            play.world.settle(former, [], lambda: None)

    play.world.restore(process, settle_once)
    assert asked < len(questions)
    play.finish()


@pytest.mark.parametrize("restored", range(7))
def test_a_retry_that_is_written_between_the_parts_of_a_partition_goes_ahead_of_its_key(restored: int) -> None:
    """The main topic and its tiers come one by one, and what one of them shows of the ledger is newer than a tier that
    was read before."""
    play, former = begin(STRICT, 2)
    settle_between_parts(play, former, restored)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("restored", range(7))
def test_a_retry_that_is_written_between_the_parts_of_a_partition_holds_its_identity(restored: int, mode: str) -> None:
    """The third job has the identity of the first one, which waits for this retry."""
    play, former = begin(Shape(unique=mode), 3)
    settle_between_parts(play, former, restored)


def settle_between_parts(play: Play, former: SimProcess, restored: int) -> None:
    """The cut-off process writes the retry when the new owner has restored so many parts of the partition."""
    process = take_over_while_one_fails(play, former, in_parts=True)
    for _ in range(restored):
        play.world.restore(process)
        process.begin_restored()
    play.world.settle(former, [], lambda: None)
    play.finish()


@pytest.mark.expected_errors("cannot be written")
def test_a_twin_that_comes_late_does_not_pass_for_the_next_attempt() -> None:
    """A retry was written twice, since its first answer was lost; the second comes when the first has failed."""
    play, process = begin(STRICT, 2)
    run_next(play, process, "fail", ["unanswered"])
    CLOCK.advance(2.0)
    play.world.settle(process, [], lambda: None)
    process.completion.note_settled()
    process.fetch_delayed(1)
    process.take_due()
    assert ready(process) == ["j0"]
    run_next(play, process, "ask")  # for a delay that waits as well
    process.completion.note_settled()
    process.fetch_delayed(1)
    process.take_due()
    assert ready(process) == ["j0"]
    play.world.start(process, 0)
    assert ready(process) == []
    play.finish()


def test_a_job_that_stands_still_holds_up_its_own_key_alone() -> None:
    """All others come to their end while one job of each partition runs on."""
    play, process = begin(Shape(), 3)
    play.carry_out(Enqueue([1, 2, 3] * 4, ""))
    play.world.start(process, 0)
    stuck = process.running.pop()
    for _ in range(30):
        play.turn(process)
        while process.startable:
            play.world.start(process, 0)
            play.world.end(process, 0, "done")
        play.world.settle(process, [], lambda: None)
    waiting = [job.job_id for job in play.world.account.jobs.values() if not job.is_over]
    assert waiting == ["j0", "j1", "j2"]
    process.running.append(stuck)
    play.finish()


def test_an_events_topic_that_is_silent_for_good_holds_up_no_outcome() -> None:
    """Failed jobs have events; they are settled, and good ones beside them, without waiting for one of those."""
    play, process = begin(Shape(), 6)
    begun_at_s = CLOCK.time()
    for ending in ("fail", "done", "fail", "discard", "permanent", "snooze"):
        run_next(play, process, ending)
        assert process.unsettled == 0
    assert CLOCK.time() == begun_at_s
    assert process.events.given_up.total == 1, "of five, the client has room for four"
    play.finish()


def test_a_job_that_kills_all_it_runs_in_is_quarantined_by_the_deaths_that_it_alone_can_have_caused() -> None:
    """It takes two workers with it, then, in a child, nobody; what is known of it survives the rebalance between its
    children, and the job that ran beside it each time is not blamed."""
    play = Play(Shape(deadly_every=2))
    play.carry_out(Enqueue([1, 0], ""))  # j0 of key "b", and j1, the deadly one, of key "a"
    for _ in range(2):
        process = play.alive[0]
        play.turn(process)
        play.world.start(process, 0)
        play.world.start(process, 0)
        play.world.end(process, 1, "done")
        play.world.expire(process)
        play.world.join(0.0)
    process = play.alive[0]
    play.turn(process)
    assert [len(process.ready.records), len(process.isolated.ready_records.records)] == [0, 2]
    run_next(play, process, "done")
    run_next(play, process, "done")
    assert process.is_alive
    play.world.revoke(0, lambda leaving: None)
    play.turn(process)
    (assignment,) = [a for a in process.assignments.all() if a.crash_history.crashes]
    assert assignment.crash_history.crashes == {1: 2}, "a child, and what two workers may stand for"
    run_next(play, process, "done")
    play.finish()
    bystander, deadly = play.world.account.jobs.values()
    assert (bystander.ends, deadly.ends) == (["Done"], ["Dead"])
    assert play.world.account.deaths.of_workers == 2


def test_no_job_of_a_strict_key_begins_after_one_whose_failure_is_excused() -> None:
    """After Ctrl+C, before the worker has taken back what waits: the failed job comes again, and is to be the first."""
    play, process = begin(STRICT, 2)
    play.world.start(process, 0)
    process.parts.excuse.give()
    play.world.end(process, 0, "fail")
    play.world.settle(process, [], lambda: None)
    process.completion.note_settled()
    assert ready(process) == ["j1"]
    play.world.start(process, 0)
    assert not process.running
    play.world.kill(process)
    play.finish()


def test_a_job_of_an_unknown_schema_is_deferred_while_no_runner_is_free() -> None:
    """The registry's answer is enough: one that lapses before a runner looks would be asked for again, for ever."""
    play, process = begin(Shape(newer_every=1), 1)
    play.world.start(process, 0)
    assert process.parts.gates.view.count_of(AwaitedSchema) == 1
    play.world.learn(process)
    CLOCK.advance(11)
    assert not process.startable
    play.world.settle(process, [], lambda: None)
    main, delayed = play.world.account.jobs["j0"].records
    assert (main.record.assignment.source, delayed.record.assignment.source) == (MAIN, Delay(DelayClass.SHORT))
    play.finish()


@pytest.mark.expected_errors("cannot be written")
def test_a_repetition_is_not_settled_before_the_records_that_follow_its_job() -> None:
    """The partition goes and comes back while they cannot be written; then the worker dies. The job is skipped, since
    the worker knows that it is done, but its offset must not be committed: who else would write them?"""
    play, process = begin(Shape(is_followed=True), 1)
    run_next(play, process, "done", ["refused"])
    play.carry_out(Revoke(0, [], "done"))
    play.turn(process)
    play.turn(process)
    assert len(process.startable) == 1
    play.world.start(process, 0)
    play.world.settle(process, ["refused"], lambda: None)
    play.turn(process)
    play.world.kill(process)
    play.finish()


def test_what_was_fetched_of_an_earlier_assignment_is_not_taken_by_one_that_is_not_running() -> None:
    """The partition went away and came back within one poll: its ledger is not here yet, and all is delivered anew."""
    play, former = begin(Shape(), 2)
    play.world.kill(former)
    play.world.expire(former)
    process = play.world.join(0.0)
    play.world.assign(process, 0, in_parts=False)
    place = play.world.queue.topic, 0
    log = play.world.brokers.logs[place]

    def take_old() -> tuple[int, int]:
        """Take what the client had at hand; returns what is in flight, and the partition's position."""
        process.intake.take([*log.records.values(), end_of(place, log.end)])
        assignment = process.assignments.find(*place)
        assert assignment is not None
        return process.memory_bounds.in_flight, assignment.progress.position

    assert take_old() == (0, -1), "it is restored"
    play.world.restore(process)
    process.begin_restored()
    assert take_old() == (0, 0), "its first commit is not answered yet"
    process.commit()
    while process.unanswered:
        process.answer_commit("done")
    process.begin_restored()
    process.fetch(20)
    assert ready(process) == ["j0"]
    play.finish()


def test_what_is_known_of_crashes_outlives_offsets_that_go_back() -> None:
    """A deadly job waits at the gates after its second crash as its partition begins anew: its third is the last, and
    the dead letter has the evidence of both that were seen here."""
    play, process = begin(Shape(deadly_every=1), 0)
    place = play.world.queue.topic, 0
    play.turn(process)
    former = process.assignments.find(*place)
    assert former is not None
    former.crash_history.note(0, 1)
    process.parts.runners.begin(former)
    play.carry_out(Enqueue([KEYED], ""))
    play.turn(process)
    run_next(play, process, "done")
    assert former.crash_history.crashes == {0: 2}
    play.world.account.is_disturbed = True
    process.begin_again(place, 0)
    play.turn(process)
    play.turn(process)
    assert process.assignments.find(*place) is not former
    run_next(play, process, "done")
    (dead,) = play.world.brokers.logs[play.world.queue.dead_topic, 0].records.values()
    stack = str(dict(dead.headers() or [])[ERROR_STACK])
    assert re.findall(r"(\d)\. process", stack) == ["2", "3"]
    play.finish()


@pytest.mark.parametrize("is_due", [False, True])
def test_a_strict_key_waits_on_for_its_retry_where_the_offsets_of_a_tier_go_back(*, is_due: bool) -> None:
    """The retry is fetched and waits to be due, or is ready; its partition is restored anew, and the wait with it."""
    play, process = begin(STRICT, 2)
    run_next(play, process, "fail")
    play.turn(process)
    if is_due:
        CLOCK.advance(2.0)
        process.take_due()
        assert ready(process) == ["j0"]
    play.world.account.is_disturbed = True
    process.begin_again((play.world.topics[1], 0), 0)
    process.fetch_delayed(1)
    assert ready(process) == []
    play.turn(process)
    CLOCK.advance(2.0)
    play.turn(process)
    play.turn(process)
    assert ready(process) == ["j0"]
    run_next(play, process, "done")
    assert ready(process) == ["j1"]
    play.finish()


@pytest.mark.expected_errors("are not in")
def test_a_strict_key_goes_on_where_its_retry_is_deleted_while_it_waits() -> None:
    """Its record is known by its offset only, and a person deletes it: the key would wait for it for good."""
    play, process = begin(STRICT, 1)
    run_next(play, process, "fail")
    play.turn(process)
    tier = play.world.topics[1], 0
    (offset,) = play.world.brokers.logs[tier].records
    assignment = process.assignments.find(*tier)
    assert assignment is not None
    play.carry_out(Enqueue([KEYED], ""))
    play.turn(process)
    assert ready(process) == []
    del play.world.brokers.logs[tier].records[offset], play.world.account.written[tier][offset]
    process.calendar.drop([assignment])
    process.calendar._coming.add(assignment, [offset], 0)
    process.reread_records._note_gone([(assignment, offset)])
    for _ in range(3):
        play.turn(process)
    assert ready(process) == ["j1"]


def test_a_partition_that_is_restored_anew_does_not_wait_for_a_job_that_stands_still() -> None:
    """For some seconds it does; then others of its keys run, and the next owner has what became of that one."""
    play, process = begin(STRICT, 1)
    play.world.start(process, 0)
    former = process.assignments.find(play.world.queue.topic, 0)
    assert former is not None
    process.rebalance.restore_anew(former)
    play.world.account.is_disturbed = True
    play.carry_out(Enqueue([3], ""))  # without a key
    play.turn(process)
    assert process.assignments.find(former.topic, 0) is former
    CLOCK.advance(RETAKE_WITHIN_S)
    play.turn(process)
    play.turn(process)
    assert not former.is_active
    assert ready(process) == ["j1"]
    play.finish()


@pytest.mark.parametrize("shape", [SHORT_LIVED, replace(SHORT_LIVED, ordering="strict", is_fair=True)])
@pytest.mark.parametrize("ending", ["done", "fail", "killed"])
def test_a_job_that_comes_once_more_while_it_runs_is_not_lost_when_it_is_too_old(
    shape: Shape, ending: Literal["done", "fail", "killed"]
) -> None:
    """Its partition's offsets go back, and what comes once more is carried forward: the record is complete by its copy,
    which waits until the run has ended, and runs where the worker dies before."""
    play, process = begin(shape, 1)
    place = play.world.queue.topic, 0
    play.world.start(process, 0)
    play.world.go_back(0)
    play.turn(process)
    play.turn(process)
    CLOCK.advance(11.0)
    for _ in range(8):
        play.turn(process)
    assert len(process.carrier._replaced) == 1
    assert play.world.brokers.committed[place][0] == 1
    assert [str(running.record) for running in process.running] == ["unit.q/0/0"]
    if ending == "killed":
        play.world.kill(process)
    else:
        play.world.end(process, 0, ending)
    play.finish()
    assert play.world.account.jobs["j0"].ends == ["Done"]


@pytest.mark.parametrize("shape", [Shape(), Shape(is_fair=True)])
def test_what_a_fetch_has_from_before_the_offsets_went_back_is_taken_no_more(shape: Shape) -> None:
    """The client may hand out both at once; what waits of the former assignment would keep others from being read."""
    play, process = begin(shape, 5)
    place = play.world.queue.topic, 0
    records = list(play.world.brokers.logs[place].records.values())
    play.carry_out(Enqueue([KEYED] * 5, ""))
    play.world.account.is_disturbed = True
    later = list(play.world.brokers.logs[place].records.values())[len(records) :]
    process.intake.take([*later, records[0]])
    assert list(process.parts.lanes.backlog.places()) == []
    assert process.memory_bounds.in_flight == 0
    process.group_client.begin_again(place, 0)
    play.finish()


def test_a_tier_that_comes_back_alone_brings_a_job_whose_failure_was_not_written() -> None:
    """Its partition went away before the settler came to the failure, and the main topic's stayed, with the ledger."""
    play, process = begin(Shape(), 1)
    run_next(play, process, "fail")
    play.turn(process)
    CLOCK.advance(1.2)
    play.turn(process)
    assert ready(process) == ["j0"]
    play.world.start(process, 0)
    play.world.end(process, 0, "fail", is_kept=True)
    play.world.account.is_disturbed = True
    tier = [TopicPartition(play.world.queue.retry_topics[TIERS[0]], 0)]
    process.revoke(tier, lambda _leaving: None)
    play.world.settle(process, [], lambda: None)
    process.assign(tier)
    play.turn(process)
    play.turn(process)
    play.finish()
