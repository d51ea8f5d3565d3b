"""In which form a record is written that its topic has refused. Pure.

Brokers limit the compressed size of a batch (`max.message.bytes`), so a publisher that compresses may send a record of
any size, and what the settler writes of it must find a form that fits. The forms, in this order:

    plain               in a batch with others, as nearly all are
    alone               compressed, in a batch of its own: so it is refused for nobody's sake but its own
    without the stack   of the error that it carries
    a dead letter       in place of a retry that fits no tier
    truncated           a dead letter with as much of the value as fits, which names the place of the original
    bare                the same without the value, and with key and headers cut as well
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
from .settlement import Settlement
from .writes import Body, NextRecord

ALONE_FROM_BYTES: Final = 1_000_000
"""What is larger goes alone at once: uncompressed, it is above the brokers' usual limit or near it."""
FIRST_CUT_BYTES: Final = 32 * 1024 * 1024
"""A truncated letter holds half of the value, or so much; then half of that, and so on, until it fits."""
LEAST_CUT_BYTES: Final = 1_024
BARE_KEY_BYTES: Final = 1_024
BARE_VALUE_BYTES: Final = 512
BARE_NAME_BYTES: Final = 100
BARE_HEADERS: Final = 50

_TELLING: Final = (
    wire.JOB_ID,
    wire.JOB_TYPE,
    wire.SOURCE,
    wire.TIME,
    wire.IDEMPOTENCY_KEY,
    wire.REPLAY,
    wire.EXPIRES,
    *sorted(wire.RETRY_HEADERS),
)
"""What a bare letter keeps of its headers before all others."""

Bury = Callable[[Record, Dead], Settlement]


def goes_alone(item: Settlement) -> bool:
    """Whether the item's record is not written in a batch with others."""
    following = item.writes.record
    return following is not None and (following.is_alone or item.record.size_bytes > ALONE_FROM_BYTES)


def next_form(item: Settlement, bury: Bury) -> Settlement | None:
    """What to write in place of an item that was refused; None where no other form of it can help.

    Args:
        bury: plans a dead letter.
    """
    following, error = item.writes.record, item.error
    remedy = None if error is None else remedy_of(error)
    if following is None or remedy not in (Remedy.SHRINK, Remedy.ALONE):
        return None
    if not following.is_alone:
        return _written_as(item, replace(following, is_alone=True))
    return None if remedy is Remedy.ALONE else _smaller(item, following, bury)


def _smaller(item: Settlement, following: NextRecord, bury: Bury) -> Settlement | None:
    bare = [pair for pair in following.headers if pair[0] != wire.ERROR_STACK]
    if len(bare) < len(following.headers):
        return _written_as(item, replace(following, headers=bare))
    if not isinstance(item.outcome, Dead):
        return _buried(item, following, bury)
    truncated = _truncated(item.record, following)
    return None if truncated is None else _written_as(item, truncated)


def _written_as(item: Settlement, form: NextRecord) -> Settlement:
    return replace(item, writes=replace(item.writes, record=form), error=None)


def _buried(item: Settlement, following: NextRecord, bury: Bury) -> Settlement:
    letter = bury(item.record, Dead(reason="too-large", failure=_why_dead(item, following.topic)))
    if letter.writes.record is not None:
        letter = _written_as(letter, replace(letter.writes.record, is_alone=True))
    return replace(letter, instead_of=item.outcome)


def _why_dead(item: Settlement, topic: str) -> Failure:
    """The error of the run, where one has failed: it is what has to be mended first."""
    if isinstance(item.outcome, Retried):
        return item.outcome.failure
    size_bytes, job_type = item.record.size_bytes, item.record.headers.get(wire.JOB_TYPE, b"")
    message = f"its {size_bytes:,} bytes do not fit {topic}, compressed: raise max.message.bytes there, and replay it"
    return make_failure(job_type.decode("utf-8", "replace"), error_type="stoker.RecordTooLarge", message=message)


def _truncated(record: Record, letter: NextRecord) -> NextRecord | None:
    """The letter with less of its record; None where nothing is left to be cut."""
    body = letter.body
    if body is None:
        first = replace(letter, headers=[*letter.headers, *_marks(record)], body=Body(key=record.key, value=b""))
        kept_bytes = min(len(record.value or b"") // 2, FIRST_CUT_BYTES)
        return _cut(record, _bare(record, first) if _is_wide(record) else first, kept_bytes)
    if body.value:
        halved = len(body.value) // 2
        return _cut(record, letter, halved if halved >= LEAST_CUT_BYTES else 0)
    return None if body.is_bare else _bare(record, letter)


def _marks(record: Record) -> HeaderList:
    value = record.value or b""
    return [
        (wire.TRUNCATED_FROM, str(record).encode()),
        (wire.TRUNCATED_SIZE, b"%d" % len(value)),
        (wire.TRUNCATED_DIGEST, sha256(value).hexdigest().encode()),
    ]


def _cut(record: Record, letter: NextRecord, kept_bytes: int) -> NextRecord:
    assert letter.body is not None
    return replace(letter, body=replace(letter.body, value=(record.value or b"")[:kept_bytes]))


def _is_wide(record: Record) -> bool:
    """Whether key and headers alone are more than the limits of topics leave room for."""
    names = sum(len(name) for name, _ in record.pairs)
    return record.size_bytes - len(record.value or b"") + names > HEADERS_ALLOWANCE_BYTES


def _bare(record: Record, letter: NextRecord) -> NextRecord:
    key = record.key if len(record.key or b"") <= BARE_KEY_BYTES else None
    return replace(letter, headers=_bare_headers(letter.headers), body=Body(key=key, value=b"", is_bare=True))


def _bare_headers(pairs: Iterable[tuple[str, bytes]]) -> HeaderList:
    """The headers that tell of the job and its error, then the first others, each with the beginning of its value."""
    named = header_map(pairs)
    telling = [(name, named[name]) for name in _TELLING if name in named]
    others = [pair for pair in named.items() if pair[0] not in _TELLING and len(pair[0].encode()) <= BARE_NAME_BYTES]
    return [(name, value[: _kept(name)]) for name, value in (*telling, *others[:BARE_HEADERS])]


def _kept(name: str) -> int:
    return BARE_VALUE_BYTES * 2 if name in wire.RETRY_HEADERS else BARE_VALUE_BYTES
