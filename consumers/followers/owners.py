"""`with_owners`: dead letters carry who answers for them: who reads the topic needs no declaration. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from ...topology import AnyJobType, Pipeline, Queue
from ...topology.wire import headers as wire
from ...topology.wire.headers import HeaderList
from ..records.outcomes import Dead, Outcome
from ..records.record import Record
from ..settling.next_records import SettlingContext
from ..settling.outgoing import OutgoingRecord, Relation
from ..settling.writes import Writer


class Owners:
    """The headers of a queue's dead letters: those of their job type, or the queue's where no type is declared.

    Falsy where neither declares an owner or a runbook.
    """

    def __init__(self, pipeline: Pipeline, queue: Queue) -> None:
        self._of_types = {name.encode(): _headers(job_type) for name, job_type in pipeline.job_types.items()}
        self._of_others = _headers(queue)

    def __bool__(self) -> bool:
        return bool(self._of_others) or any(self._of_types.values())

    def of(self, record: Record) -> HeaderList:
        """The headers that a dead letter of this job has."""
        return self._of_types.get(record.header(wire.JOB_TYPE) or b"", self._of_others)


def _headers(declared: AnyJobType | Queue) -> HeaderList:
    found = ((wire.OWNER, declared.owner), (wire.RUNBOOK, declared.runbook))
    return [(header, text.encode()) for header, text in found if text]


def with_owners(writers: Sequence[Writer], owners: Owners) -> Sequence[Writer]:
    """A table of writers whose dead letters have these headers."""
    if not owners:
        return writers
    return [
        replace(writer, plan=partial(_owned, writer, owners)) if Dead in writer.follows else writer
        for writer in writers
    ]


def _owned(
    writer: Writer, owners: Owners, record: Record, outcome: Outcome, context: SettlingContext
) -> Iterable[OutgoingRecord]:
    planned = writer.plan(record, outcome, context)
    added = owners.of(record) if isinstance(outcome, Dead) else []
    if not added:
        return planned
    return [
        replace(written, headers=[*written.headers, *added]) if written.relation is Relation.DEAD_LETTER else written
        for written in planned
    ]
