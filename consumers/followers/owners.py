"""`with_owners`: dead letters carry who answers for them: who reads the topic needs no declaration. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from ...topology import Pipeline
from ...topology.wire import headers as wire
from ...topology.wire.headers import HeaderList
from ..records.outcomes import Dead, Outcome
from ..records.record import Record
from ..settling.next_records import SettlingContext
from ..settling.outgoing import OutgoingRecord, Role
from ..settling.writes import Writer

Owners = Mapping[bytes, HeaderList]
"""{name of a job type on the wire: headers of its dead letters}, of those that declare an owner or a runbook."""


def owners_of(pipeline: Pipeline) -> Owners:
    """The headers of all job types of a pipeline."""
    found = {
        name.encode(): [
            (header, text.encode())
            for header, text in ((wire.OWNER, job_type.owner), (wire.RUNBOOK, job_type.runbook))
            if text
        ]
        for name, job_type in pipeline.job_types.items()
    }
    return {name: headers for name, headers in found.items() if headers}


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
    added = owners.get(record.header(wire.JOB_TYPE) or b"") if isinstance(outcome, Dead) else None
    if added is None:
        return planned
    return [
        replace(written, headers=[*written.headers, *added]) if written.role is Role.DEAD_LETTER else written
        for written in planned
    ]
