"""The doctor's checks of one queue: its topics' settings, its progress, its workers, and what lies too long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from ...topology import Pipeline, Queue, format_duration
from ...topology.counts import counted, counted_doing
from ...topology.durations import retention_of
from ..instants import rounded
from ..queue_status.queues import due_of
from ..queue_status.standstill import unexplained
from ..stored_jobs.dead_letter_counts import RecentDeadLetters
from .facts import Facts
from .findings import Finding, at_risk, broken, kept, unknown

ENVELOPE_BYTES: Final = 64 * 1024
"""Room for headers and framing beside the payload."""
LATE: Final = timedelta(seconds=5)
"""Retries are started within a second of their due time on an idle worker; this leaves room for a busy one."""
NO_DEAD_LETTERS: Final = RecentDeadLetters(died=0, open=0, oldest_open=None)
NEAR: Final = 0.8
"""Share of a retention from which a record counts as about to be deleted."""


def check_queue(facts: Facts, queue: Queue, pipeline: Pipeline) -> Iterator[Finding]:
    """All checks of one queue, apart from its topology's."""
    if not any(facts.has(topic) for topic in queue.job_topics):
        yield broken("", queue.name, "none of its topics exist", "run `stoker topology apply`")
        return
    yield from _progress(facts, queue)
    yield from _retention(facts, queue)
    yield from _cleanup(facts, queue)
    yield _record_size(facts, queue)
    yield _partitions(facts, queue)
    yield _workers(facts, queue)
    yield _overdue(facts, queue)
    yield from _stuck(facts, queue)
    yield from _standing_still(facts, queue)
    yield from _strangers(facts, queue, pipeline)
    yield from _dead_letters(facts, queue)


def _progress(facts: Facts, queue: Queue) -> Iterator[Finding]:
    reading = facts.reading
    known = [part for part in facts.job_partitions(queue) if part in reading.committed]
    lost = sum(max(reading.starts[part] - reading.committed[part], 0) for part in known)
    beyond = [
        f"{topic}/{number}" for topic, number in known if reading.committed[topic, number] > reading.ends[topic, number]
    ]
    if lost:
        yield broken(
            "P1",
            queue.name,
            f"retention has deleted up to {counted(lost, 'job')} unrun",
            f"run workers, and raise the queue's retention above {format_duration(queue.retention)}",
        )
    if beyond:
        yield broken(
            "P2",
            queue.name,
            f"the group's offset is past the end of {', '.join(beyond)}: the topic was created again, or has lost "
            "records",
            "start a worker if none runs: it goes on at the first record that is there, and with the next job this "
            f"finding ends; leave group {queue.group} as it is, since without it the jobs of all partitions run again",
        )
    if not lost and not beyond:
        yield kept("P2", queue.name, "committed offsets lie within the log, and no job was deleted unrun")


def _retention(facts: Facts, queue: Queue) -> Iterator[Finding]:
    for topic in queue.job_topics:
        config = facts.topic_configs.get(topic, {})
        if config.get("retention.bytes", "-1") != "-1":
            yield at_risk(
                "P1",
                queue.name,
                f"{topic} is cut by size ({config['retention.bytes']} bytes): a large backlog would be deleted unrun",
                f"set retention.bytes=-1 on {topic}",
            )
    waiting = facts.waiting_jobs(queue)
    if not waiting:
        return
    age, retention = facts.now - min(job.at for job in waiting), _kept_for(facts, queue)
    waited = facts.now - min(job.enqueued_at for job in waiting)
    carried = f" (its record, carried forward, for {rounded(age)})" if rounded(waited) != rounded(age) else ""
    kept_for = "never deleted" if retention == timedelta.max else f"kept for {format_duration(retention)}"
    observed = f"the oldest job has waited for {rounded(waited)}{carried}, and records are {kept_for}"
    if age > retention * NEAR:
        yield broken(
            "P1", queue.name, f"{observed}: it is about to be lost", "run workers, or raise the retention at once"
        )
    else:
        yield kept("P1", queue.name, observed)


def _kept_for(facts: Facts, queue: Queue) -> timedelta:
    """How long the cluster keeps the queue's jobs, by the shortest of its topics; the declared length if unknown."""
    configs = [facts.topic_configs.get(topic, {}) for topic in queue.job_topics]
    retentions = [retention_of(int(found["retention.ms"])) for found in configs if "retention.ms" in found]
    return min(retentions, default=queue.retention)


def _cleanup(facts: Facts, queue: Queue) -> Iterator[Finding]:
    for topic in (*queue.job_topics, queue.dead_topic):
        policy = facts.topic_configs.get(topic, {}).get("cleanup.policy", "delete")
        if "compact" in policy:
            yield broken(
                "P1",
                queue.name,
                f"{topic} is compacted: of jobs with the same key, all but the last are deleted",
                f"set cleanup.policy=delete on {topic}",
            )
    ledger = facts.topic_configs.get(queue.ledger_topic)
    if ledger is None:
        yield unknown("P3", queue.name, f"{queue.ledger_topic} is missing or not visible", "see `stoker topology plan`")
    elif "compact" in ledger.get("cleanup.policy", ""):
        yield kept("P3", queue.name, "the ledger's topic is compacted, so a new worker can read it in bounded time")
    else:
        yield at_risk(
            "P3",
            queue.name,
            f"{queue.ledger_topic} is not compacted: ids of finished jobs may be deleted, or reading them takes long",
            f"run `stoker topology apply`, or set cleanup.policy=compact,delete on {queue.ledger_topic}",
        )


def _record_size(facts: Facts, queue: Queue) -> Finding:
    needed = queue.max_payload_bytes + ENVELOPE_BYTES
    limits = {
        topic: int(facts.topic_configs[topic]["max.message.bytes"])
        for topic in (*queue.job_topics, queue.dead_topic)
        if "max.message.bytes" in facts.topic_configs.get(topic, {})
    }
    small = [topic for topic, limit in limits.items() if limit < needed]
    if not limits:
        return unknown(
            "P2", queue.name, "the cluster does not show its limit for records", "grant DescribeConfigs on its topics"
        )
    if small:
        return broken(
            "P2",
            queue.name,
            f"{', '.join(small)} takes smaller records than a payload of {queue.max_payload_bytes:,} bytes needs with "
            "its headers: such a job could be enqueued, and then not be retried",
            f"set max.message.bytes={needed} or more, or lower the queue's max_payload_bytes",
        )
    return kept("P2", queue.name, f"every payload up to {queue.max_payload_bytes:,} bytes fits into each of its topics")


def _partitions(facts: Facts, queue: Queue) -> Finding:
    counts = {
        topic: facts.reading.counts[topic]
        for topic in (*queue.job_topics, queue.ledger_topic, queue.progress_topic, queue.dead_topic)
        if facts.has(topic)
    }
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        return broken(
            "P4",
            queue.name,
            f"its topics differ in partitions ({shown}): a record cannot keep its partition, nor its owner",
            "run `stoker topology plan`, then `stoker topology apply`",
        )
    return kept(
        "P4",
        queue.name,
        f"its topics, dead letters included, have {counted(next(iter(counts.values())), 'partition')} each",
    )


def _workers(facts: Facts, queue: Queue) -> Finding:
    group, waiting = facts.groups[queue.group], facts.waiting(queue)
    if group.members:
        workers, jobs = counted(len(group.members), "worker"), counted_doing(waiting, "job", "wait")
        return kept("P10", queue.name, f"{workers} (group {group.state}), {jobs}")
    if not waiting:
        return kept("P10", queue.name, "no worker runs, and no job waits")
    return broken(
        "P10",
        queue.name,
        f"{counted_doing(waiting, 'job', 'wait')} and no worker runs: the queue stands still",
        f"start one with `stoker worker --queue {queue.name}`",
    )


def _overdue(facts: Facts, queue: Queue) -> Finding:
    due = [instant for job in facts.waiting_jobs(queue) if (instant := due_of(job)) is not None]
    overdue = facts.now - min(due, default=facts.now)
    if overdue <= LATE:
        return kept("P6", queue.name, "no retry is overdue")
    observed = f"the oldest retry is overdue by {rounded(overdue)}"
    if not facts.groups[queue.group].members:
        return broken(
            "P6", queue.name, f"{observed}, since no worker runs", f"start one: `stoker worker --queue {queue.name}`"
        )
    return broken(
        "P6",
        queue.name,
        observed,
        f"see `stoker queues {queue.name}`: more workers, or find the job that holds them up",
    )


def _stuck(facts: Facts, queue: Queue) -> Iterator[Finding]:
    """Stuck jobs, by the workers' events: the cluster does not show them."""
    if not facts.groups[queue.group].members:
        return
    committed = [(part, facts.reading.position(part)) for part in facts.job_partitions(queue)]
    found = facts.blockers.believed(queue, facts.groups[queue.group], committed)
    stuck = [report for report in found if report.is_stuck]
    for report in stuck:
        yield broken(
            "P5",
            queue.name,
            report.sentence(facts.now),
            f"restart worker {report.worker}; with isolation='process', its timeout would have ended it",
        )
    if facts.blockers.fault:
        yield unknown("P5", queue.name, facts.blockers.fault)
    elif not stuck:
        yield kept("P5", queue.name, "its workers report no stuck job")


def _standing_still(facts: Facts, queue: Queue) -> Iterator[Finding]:
    """Partitions whose offset does not move: by the reports of workers, or without any report."""
    if not facts.groups[queue.group].members:
        return
    committed = [(part, facts.reading.position(part)) for part in facts.job_partitions(queue)]
    reports = facts.blockers.believed(queue, facts.groups[queue.group], committed)
    for report in reports:
        if report.state == "unsettled":
            fix = "the worker's log names the error; see to the topics' limits, the rights and the brokers"
            yield broken("P10", queue.name, report.sentence(facts.now), fix)
    for still in unexplained(facts.standstills, queue.job_topics, {report.partition for report in reports}):
        yield broken("P10", queue.name, f"{still.sentence(facts.now)}; no worker reports why", still.fix)


def _strangers(facts: Facts, queue: Queue, pipeline: Pipeline) -> Iterator[Finding]:
    types = {job.job_type for job in facts.waiting_jobs(queue)} - pipeline.job_types.keys()
    if types:
        shown = ", ".join(sorted(name or "(none)" for name in types))
        yield at_risk(
            "P9",
            queue.name,
            f"jobs wait whose type this application does not know: {shown}",
            "deploy workers that know them; until then they are deferred, and dead letters after 7 days",
        )


def _dead_letters(facts: Facts, queue: Queue) -> Iterator[Finding]:
    if not facts.has(queue.dead_topic):
        return
    recent = facts.recent_dead.get(queue.dead_topic, NO_DEAD_LETTERS)
    yield _recent_deaths(queue, recent)
    is_whole = recent is not None and recent.is_whole
    oldest = recent.oldest_open if recent is not None and is_whole else _oldest_dead(facts, queue)
    if oldest is not None and facts.now - oldest > queue.dead_retention * NEAR:
        left = max(queue.dead_retention - (facts.now - oldest), timedelta(0))
        which = "the oldest open dead letters" if is_whole else "the oldest dead letters, open or not,"
        yield at_risk(
            "P1",
            queue.name,
            f"{which} are deleted in {rounded(left)}",
            f"replay or discard those that are open: `stoker dead list {queue.name}`",
        )


def _oldest_dead(facts: Facts, queue: Queue) -> datetime | None:
    heads = (head for (topic, _), head in facts.dead_heads.items() if topic == queue.dead_topic and head)
    return min((head.at for head in heads), default=None)


def _recent_deaths(queue: Queue, recent: RecentDeadLetters | None) -> Finding:
    if recent is None:
        return unknown(
            "P10",
            queue.name,
            f"the new dead letters were not counted: {queue.dead_topic} holds too much for that, or cannot be read",
            f"see `stoker queues {queue.name} --exact` and `stoker dead list {queue.name} --since -1h --group`",
        )
    if not recent.died:
        return kept("P10", queue.name, "no job became a dead letter in the last hour")
    died = f"{counted(recent.died, 'new dead letter')} in the last hour"
    if not recent.open:
        return kept("P10", queue.name, f"{died}, all of them replayed or discarded since")
    return at_risk(
        "P10",
        queue.name,
        f"{died}, {recent.open:,} of them open",
        f"see why with `stoker dead list {queue.name}`, fix the cause, then replay them",
    )
