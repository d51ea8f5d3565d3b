"""In which form a record is written that its topic has refused. Pure.

Brokers limit the compressed size of a batch (`max.message.bytes`), so a publisher that compresses may send a record of
any size, and what the settler writes of it must find a form that fits. The forms, in this order:

    plain               in a batch with others, as nearly all are
    alone               compressed, in a batch of its own: so the brokers refuse it for its own size alone
    without the stack   of the error that it carries
    a dead letter       in place of a record that fits no retry tier or no delay topic
    truncated           a dead letter with as much of the value as fits, which names the place of the original
    bare                the same with key and headers cut as well; where these are large, with a part of the value

A record that is not the job itself (`Relation.FOLLOWING`) has the first two forms only: half of it would mean
something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha256
from typing import Final

from ...topology.cluster.kafka_errors import Remedy, remedy_of
from ...topology.declaration.topics import HEADERS_ALLOWANCE_BYTES
from ...topology.wire import headers as wire
from ...topology.wire.headers import HeaderList, header_map
from ..job.failure import make_failure
from ..records.outcomes import Dead, Failure, Retried
from ..records.record import Record
from .outgoing import Form, OutgoingRecord, Relation
from .settlement import Settlement

ALONE_FROM_BYTES: Final = 1_000_000
"""A larger record goes alone at once: uncompressed, it is above the brokers' usual limit or near it."""
FIRST_CUT_BYTES: Final = 32 * 1024 * 1024
"""A truncated dead letter holds half of the value, or so much; then half of that, and so on, until it fits."""
LEAST_CUT_BYTES: Final = 1_024
BARE_KEY_BYTES: Final = 1_024
BARE_VALUE_BYTES: Final = 512
BARE_NAME_BYTES: Final = 100
BARE_HEADERS: Final = 50

_KEPT_FIRST: Final = (
    wire.JOB_ID,
    wire.JOB_TYPE,
    wire.SOURCE,
    wire.TIME,
    wire.TENANT,
    wire.PRIORITY,
    wire.IDEMPOTENCY_KEY,
    wire.REPLAY,
    wire.EXPIRES,
    *sorted(wire.RETRY_HEADERS),
)
"""The headers that a bare dead letter keeps before all others."""

PlanDeadLetter = Callable[[Record, Dead], Settlement]


def goes_alone(item: Settlement) -> bool:
    """Whether the item's records are written by themselves, and not in a batch with others."""
    return any(
        written.form is not Form.PLAIN or _size_bytes(item.record, written) > ALONE_FROM_BYTES
        for written in item.unconfirmed
    )


def _size_bytes(record: Record, written: OutgoingRecord) -> int:
    if written.relation is not Relation.FOLLOWING:
        return record.size_bytes
    return len(written.key or b"") + len(written.value or b"") + sum(len(value) for _, value in written.headers)


def refitted(item: Settlement, plan_dead_letter: PlanDeadLetter) -> Settlement | None:
    """Give a refused item's records the next forms that their topics may take; None where no other form can help.

    Args:
        plan_dead_letter: plans a dead letter, which is settled in place of an item whose job fits no tier.
    """
    forms = {}
    for refusal in item.refusals:
        written, remedy = refusal.written, remedy_of(refusal.error)
        if written is None or remedy not in (Remedy.SHRINK, Remedy.ALONE):
            continue
        form = next_form(item.record, written, remedy)
        if form is not None:
            forms[written] = form
        elif remedy is Remedy.SHRINK and written.relation is Relation.WAITING:
            return _as_dead_letter(item, written, plan_dead_letter)
    if not forms:
        return None
    item.rewrite(forms)
    return item


def next_form(record: Record, written: OutgoingRecord, remedy: Remedy) -> OutgoingRecord | None:
    """The next form of one record; None where it has no other."""
    if written.form is Form.PLAIN:
        return replace(written, form=Form.ALONE)
    if remedy is Remedy.ALONE or written.relation is Relation.FOLLOWING:
        return None
    without_stack = [pair for pair in written.headers if pair[0] != wire.ERROR_STACK]
    if len(without_stack) < len(written.headers):
        return replace(written, headers=without_stack)
    return _truncated(record, written) if written.relation is Relation.DEAD_LETTER else None


def _as_dead_letter(item: Settlement, refused: OutgoingRecord, plan_dead_letter: PlanDeadLetter) -> Settlement:
    dead_letter = plan_dead_letter(item.record, Dead(reason="too-large", failure=_why_dead(item, refused.topic)))
    dead_letter.rewrite({written: replace(written, form=Form.ALONE) for written in dead_letter.unconfirmed})
    dead_letter.instead_of = item.outcome
    return dead_letter


def _why_dead(item: Settlement, topic: str) -> Failure:
    """The error of the run, where one has failed: it is what has to be fixed first."""
    if isinstance(item.outcome, Retried):
        return item.outcome.failure
    size_bytes, job_type = item.record.size_bytes, item.record.headers.get(wire.JOB_TYPE, b"")
    message = f"its {size_bytes:,} bytes do not fit {topic}, compressed: raise max.message.bytes there, and replay it"
    return make_failure(job_type.decode("utf-8", "replace"), error_type="stoker.RecordTooLarge", message=message)


def _truncated(record: Record, dead_letter: OutgoingRecord) -> OutgoingRecord | None:
    """The dead letter with less of its record; None where nothing is left to be cut."""
    if not dead_letter.is_cut:
        marked = replace(dead_letter, headers=[*dead_letter.headers, *_marks(record)], form=Form.TRUNCATED)
        kept_bytes = min(len(record.value or b"") // 2, FIRST_CUT_BYTES)
        return _cut(record, _bare(record, marked) if _is_wide(record) else marked, kept_bytes)
    if dead_letter.value:
        halved = len(dead_letter.value) // 2
        return _cut(record, dead_letter, halved if halved >= LEAST_CUT_BYTES else 0)
    return None if dead_letter.form is Form.BARE else _bare(record, dead_letter)


def _marks(record: Record) -> HeaderList:
    value = record.value or b""
    return [
        (wire.TRUNCATED_FROM, str(record).encode()),
        (wire.TRUNCATED_SIZE, b"%d" % len(value)),
        (wire.TRUNCATED_DIGEST, sha256(value).hexdigest().encode()),
    ]


def _cut(record: Record, dead_letter: OutgoingRecord, kept_bytes: int) -> OutgoingRecord:
    return replace(dead_letter, value=(record.value or b"")[:kept_bytes])


def _is_wide(record: Record) -> bool:
    """Whether key and headers alone are more than the limits of topics leave room for."""
    names = sum(len(name) for name, _ in record.pairs)
    return record.size_bytes - len(record.value or b"") + names > HEADERS_ALLOWANCE_BYTES


def _bare(record: Record, dead_letter: OutgoingRecord) -> OutgoingRecord:
    key = record.key if len(record.key or b"") <= BARE_KEY_BYTES else None
    return replace(dead_letter, headers=_bare_headers(dead_letter.headers), key=key, value=b"", form=Form.BARE)


def _bare_headers(pairs: Iterable[tuple[str, bytes]]) -> HeaderList:
    """The headers of the job and its error, then the first others, each with the beginning of its value."""
    named = header_map(pairs)
    kept_first = [(name, named[name]) for name in _KEPT_FIRST if name in named]
    others = [pair for pair in named.items() if pair[0] not in _KEPT_FIRST and len(pair[0].encode()) <= BARE_NAME_BYTES]
    return [(name, value[: _kept(name)]) for name, value in (*kept_first, *others[:BARE_HEADERS])]


def _kept(name: str) -> int:
    return BARE_VALUE_BYTES * 2 if name in wire.RETRY_HEADERS else BARE_VALUE_BYTES
