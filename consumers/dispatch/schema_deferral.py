"""`SchemaDeferral`: takes records to the end of their way whose schemas the store does not know."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..records.record import Record
from ..steps.pipe import Pipe
from ..steps.results import Decided
from ..steps.schema_waits import SchemaWaits
from ..steps.steps import DecodedJob


class SchemaDeferral:
    """Has the schemas asked for that records wait for; its thread defers those that the store does not know.

    Args:
        make_ready: takes records whose schemas are known by now.
    """

    def __init__(self, waits: SchemaWaits, pipe: Pipe, make_ready: Callable[[list[Record]], None]) -> None:
        self._waits = waits
        self._pipe = pipe
        self._make_ready = make_ready

    def start(self) -> None:
        """Start to ask."""
        self._waits.start(self.defer)

    def stop(self) -> None:
        """Ask for no more."""
        self._waits.stop()

    @property
    def crashed(self) -> BaseException | None:
        """Why it asks no more; None while it does."""
        return self._waits.thread.crashed

    def defer(self, records: list[Record]) -> None:
        """Take these through the pipe without a runner: `decode` finds their schemas unknown still, or known by now."""
        known: list[Record] = []
        for record in records:
            self._pipe.pass_through(record, None, partial(_note_known, known))
        if known:
            self._make_ready(known)


def _note_known(known: list[Record], job: DecodedJob, _slot: None) -> Decided:
    """Note a record to be made ready again, whose schema is known by now."""
    known.append(job.record)
    return Decided(None)
