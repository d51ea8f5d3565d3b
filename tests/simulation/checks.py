"""What holds of a world between any two steps, and when all has come to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from simulation.processes import SimProcess
from simulation.world import World
from stoker.consumers.records.outcomes import Done, Snoozed


def check_counts(process: SimProcess) -> None:
    """What a process counts is what it holds."""
    waiting = process.parts.lanes.parking.count + process.in_runners + process.gates.view.count
    waiting += 0 if process.parts.fair is None else process.parts.fair.waiting
    unnoted = sum(len(group) for group in process.settled._batches)
    backlog, lines = process.parts.lanes.backlog, process.parts.lanes.lines
    unnoted += sum(record is not None for record in backlog._coming._early.values()) + len(lines._back)
    held_back = len(process.running) + len(process.frozen) + len(process.done) + process.unsettled + unnoted
    assert process.parts.lanes.parking.count >= 0
    assert process.memory_bounds.in_flight == waiting + held_back, "jobs in flight are counted wrong"
    if process.gate is not None:
        runs = {running.record for running in (*process.running, *process.frozen)}
        assert process.gate.taken == runs, "gates count other runs than there are"
    for assignment in process.assignments.all():
        assert assignment.in_flight >= 0
    calendar = process.calendar
    places = list(calendar.places())
    assert all(assignment.is_current for assignment, _ in places), "held, and not ours any more"
    assert len(places) == len(set(places)) == len(calendar), "delayed records are counted wrong"
    assert (calendar.in_memory == 0) == (calendar._memory.used_bytes == 0), (
        "the bytes of delayed records are counted wrong"
    )


def check_probes(processes: Sequence[SimProcess]) -> None:
    """One job of the whole fleet probes, as long as its worker's lease holds."""
    probing = [process for process in processes if process.breakers is not None and process.breakers.probes]
    assert len(probing) <= 1, f"{len(probing)} jobs probe"


def check_rest(world: World) -> None:
    """All jobs have ended, all offsets are committed, and nothing is left anywhere."""
    for job in world.account.jobs.values():
        assert job.is_over, f"{job.job_id} is lost"
        if world.shape.is_followed and set(job.ends) == {Done.__name__}:
            assert job.job_id in world.account.followed, f"{job.job_id} is done, and what follows that is lost"
        if not (world.account.is_disturbed or job.is_repeated):
            assert len(job.ends) == 1, f"{job.job_id} ended as {job.ends}"
            counted = Counter(run.attempt for run in job.runs if not (run.is_cut or isinstance(run.outcome, Snoozed)))
            assert all(runs == 1 for runs in counted.values()), f"{job.job_id} ran as {counted}"
    if world.account.uniqueness is not None:
        world.account.uniqueness.check_rest()
    for process in world.processes:
        if process.is_alive:
            assert process.memory_bounds.in_flight == 0
            assert len(process.calendar) == 0
            assert process.parts.lanes.waiting == 0
            assert process.parts.lanes.idle == 0
            assert len(process.gates.aside) == 0
            check_watched(world, process)
    for place, log in world.brokers.logs.items():
        if place[0] in world.queue.job_topics:
            committed = world.brokers.committed.get(place, (0, ""))[0]
            assert committed >= log.high, f"{place} is committed up to {committed} of {log.high}"


def check_watched(world: World, process: SimProcess) -> None:
    """What an instrument has seen fits together, seam by seam, whatever became of the partitions meanwhile."""
    counts = process.counts
    if counts is None:
        return
    decided = Counter(place for place, _ in counts.decisions.elements())
    settled = Counter(place for place, _ in counts.settlements.elements())
    assert set(counts.beginnings) <= set(counts.takings), "a job began that was not taken"
    assert set(decided) <= set(counts.takings), "an outcome was decided of what was not taken"
    assert settled == decided, "not each outcome that was decided is settled once"
    for place, offset in counts.offsets.items():
        assert offset <= world.brokers.committed[place][0], f"{place}: {offset} was not committed"
