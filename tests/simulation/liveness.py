"""What may run, runs: while every job that runs now goes on for good, all others come to their end."""

from __future__ import annotations

from collections.abc import Iterable

from simulation.jobs import Job
from simulation.processes import SimProcess
from simulation.world import World
from stoker.topology.wire.headers import JOB_ID

FEW = 3
"""Of the twelve jobs that a process may hold: where so many stand, parked ones count against the bound as well."""


def freeze(processes: Iterable[SimProcess]) -> None:
    """Let what runs go on for good."""
    for process in processes:
        process.frozen, process.running = [*process.frozen, *process.running], []


def thaw(processes: Iterable[SimProcess]) -> None:
    """Let it end again."""
    for process in processes:
        process.running, process.frozen = [*process.running, *process.frozen], []


def over(world: World) -> int:
    """How many jobs have come to their end."""
    return sum(job.is_over for job in world.account.jobs.values())


def check_flowing(world: World) -> None:
    """What has not ended stands still, or waits behind something of its key that does."""
    alive = [process for process in world.processes if process.is_alive]
    if any(len(process.frozen) >= FEW for process in alive):
        return
    standing = [running.record for process in alive for running in process.frozen]
    ids = {record.headers[JOB_ID].decode() for record in standing}
    keys = set() if world.queue.ordering == "none" else {record.key for record in standing if record.key is not None}
    waiting = [job for job in world.account.jobs.values() if not (job.is_over or _is_held_up(job, ids, keys))]
    assert not waiting, f"{waiting[0].job_id} may run and does not, beside {sorted(ids)}, which stand"


def _is_held_up(job: Job, ids: set[str], keys: set[bytes]) -> bool:
    return job.job_id in ids or job.records[0].record.key in keys
