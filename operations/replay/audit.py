"""The audit trail: who replayed or discarded what, when and how it ended, as `JobEvent`s on `<namespace>.events`.

A `begun` without its `ended` shows a process that was killed. The dead letters themselves know more: each disposition
carries the id of its replay, and who decided.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

from ...producers.control.identity import operator_of_environment, this_host
from ...schemas.job_events import EventSubject, OperatorActed, encode_event
from ...topology import Pipeline, Queue
from .transactions import TransactionalPublisher
from .units import Outgoing, Unit

if TYPE_CHECKING:
    from .pacing import Published

DETAIL_CHARACTERS: Final = 16_384
"""A longer list of filters is cut, lest the record grows past what the broker takes."""


PARTITION_BY_KEY: Final = -1


class Action(Enum):
    """The action of an operator."""

    DEAD_REPLAY = "dead-letters-replayed"
    DEAD_DISCARD = "dead-letters-discarded"
    QUEUE_REPLAY = "queue-replayed"


def operator_name() -> str:
    """Who is at work, as user@host."""
    return f"{operator_of_environment()}@{this_host()}"


class AuditTrail:
    """Writes the beginning and the end of one action, through the publisher that carries it out.

    So nothing is published without its beginning on record, and a process that was shut out cannot write an end.
    """

    def __init__(
        self, publisher: TransactionalPublisher, pipeline: Pipeline, queue: Queue, action: Action, action_id: str
    ) -> None:
        self._publisher, self._topic, self._queue = publisher, pipeline.events_topic, queue
        self._action, self._action_id = action, action_id

    def begin(self, *, counts: Mapping[str, int], filters: Mapping[str, object], note: str = "") -> None:
        """Put on record what is about to be done.

        Args:
            counts: {job type: how many}.
            filters: in use; empty when everything was selected.
            note: the operator's reason.
        """
        self._write("begun", {"counts": _json(counts), "filters": _json(filters), "note": note})

    def end(self, published: Published) -> None:
        """Put on record what was done."""
        how = "stopped" if published.is_stopped else "ended"
        self._write(how, {"done": str(published.units), "refused": str(published.refused)})

    def _write(self, phase: str, detail: Mapping[str, str]) -> None:
        event = OperatorActed(
            subject=EventSubject(job_id=self._action_id, job_type="", queue=self._queue.name, topic=self._queue.topic),
            at=datetime.now(UTC),
            worker=operator_name(),
            reason=self._action.value,
            phase=phase,
            more={name: value for name, value in detail.items() if value},
        )
        record = Outgoing(
            topic=self._topic,
            partition=PARTITION_BY_KEY,
            key=self._action_id.encode(),
            value=encode_event(event),
            headers=[],
        )
        self._publisher.publish([Unit(label=f"audit record {phase!r}", records=(record,))])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:DETAIL_CHARACTERS]
