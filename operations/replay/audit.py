"""The audit trail of replays and discards: who did what, when, why and from where, and how it ended.

The entries are `AuditEntry`s on `<namespace>.audit`. A `begun` without an end shows a process that was killed, or is
still at work. The dead letters themselves know more: each disposition carries the id of its replay, and who decided.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

from ...schemas import wire_text
from ...schemas.own_records.audit_entries import AuditEntry, Phase, encode_audit_entry
from ...topology import Pipeline, Queue
from ...topology.actor import Actor
from .corrections import Correction
from .transactions import TransactionalPublisher
from .units import Outgoing, Unit

if TYPE_CHECKING:
    from .pacing import Published

DETAIL_CHARACTERS: Final = 16_384
"""A longer list of filters is cut, lest the record grows past what the broker takes."""
MOST_TYPES: Final = 50
"""Job types that an entry counts on their own, the most frequent ones: their names fit the detail, and stay whole."""
OTHERS: Final = "(others)"
_PARTITION: Final = 0


class Action(Enum):
    """The action of an operator."""

    DEAD_REPLAY = "dead-letters-replayed"
    DEAD_DISCARD = "dead-letters-discarded"
    QUEUE_REPLAY = "queue-replayed"


class AuditTrail:
    """Writes the beginning and the end of one action, through the publisher that carries it out.

    So nothing is published without its beginning on record, and a process that was shut out cannot write an end.
    """

    def __init__(
        self, publisher: TransactionalPublisher, pipeline: Pipeline, queue: Queue, actor: Actor, action: Action
    ) -> None:
        self._publisher, self._topic, self._queue = publisher, pipeline.audit_topic, queue
        self._actor, self._action = actor, action
        self._begun: AuditEntry | None = None

    def begin(
        self,
        action_id: str,
        *,
        counts: Mapping[str, int],
        filters: Mapping[str, object],
        reason: str = "",
        corrections: Sequence[Correction] = (),
    ) -> None:
        """Put on record what is about to be done.

        Args:
            action_id: of the replay or discard.
            counts: {job type: how many}; of very many types, the others are counted together.
            filters: in use; empty when everything was selected.
            reason: the operator's.
            corrections: what is changed in the payloads of the first dead letters.
        """
        now = datetime.now(UTC)
        detail = {"counts": _json(_few(counts)), "filters": _json(filters)}
        before, after = (dict(_sides(corrections, is_after=is_after)) for is_after in (False, True))
        self._begun = AuditEntry(
            action_id=action_id,
            action=self._action.value,
            phase=Phase.BEGUN,
            at=now,
            began=now,
            operator=self._actor.operator,
            host=self._actor.host,
            command=self._actor.command,
            version=self._actor.version,
            reason=reason,
            queue=self._queue.name,
            before=before,
            after=after,
            detail=detail,
        )
        self._write(self._begun)

    def end(self, published: Published) -> None:
        """Put on record what was done."""
        if self._begun is None:
            raise RuntimeError("the audit entry of the beginning comes first")
        phase = Phase.STOPPED if published.is_stopped else Phase.ENDED
        done = {"done": str(published.units), "refused": str(published.refused)}
        detail = {**self._begun.detail, **done}
        self._write(replace(self._begun, phase=phase, at=datetime.now(UTC), detail=detail))

    def _write(self, entry: AuditEntry) -> None:
        record = Outgoing(
            topic=self._topic,
            partition=_PARTITION,
            key=entry.action_id.encode(),
            value=encode_audit_entry(entry),
            headers=[],
        )
        self._publisher.publish([Unit(label=f"audit entry {entry.phase!r}", records=(record,))])


def _sides(corrections: Sequence[Correction], *, is_after: bool) -> Iterator[tuple[str, str]]:
    """{job and field: its value} before or after the corrections, each cut to a line."""
    for correction in corrections:
        for change in correction.fields:
            yield f"{correction.job_id} {change.path or 'payload'}", change.side(is_after=is_after)


def _few(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of the most frequent types, and of all others together: a list that is cut would say nothing."""
    found = dict[str, int]()
    for rank, (name, count) in enumerate(sorted(counts.items(), key=lambda item: -item[1])):
        shown = wire_text(name) if rank < MOST_TYPES else OTHERS
        found[shown] = found.get(shown, 0) + count
    return found


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:DETAIL_CHARACTERS]
