"""When a delayed record is to be looked at: when it is due, or near the end of its topic's retention. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from confluent_kafka import Message

from ...topology import Queue
from ...topology.wire import headers as wire
from ...topology.wire.headers import HeaderList
from ..carrying.carrier import CARRY_RATIO
from ..sources.source import Source

USUAL_LENGTH: Final = len("2013-01-01T12:00:00.000000Z")
MOST_SECONDS: Final = 4_096
_Z: Final = ord("Z")


def longest_wait_s(queue: Queue) -> float:
    """How long a record may wait on its topic, before it is to be written again."""
    return queue.retention.total_seconds() * CARRY_RATIO


def pairs_of(message: Message) -> HeaderList | None:
    """The headers of a message; None where the client cannot read them."""
    try:
        return message.headers() or []  # type: ignore[return-value]  # a consumed one has them as a list
    except (SystemError, UnicodeDecodeError):  # so the client fails over a name that is not UTF-8
        return None


def wake_at_ms(pairs: HeaderList | None, timestamp_ms: int, source: Source, longest_s: float) -> int:
    """The epoch time, in milliseconds, at which a delayed record is to be looked at; at once where that is unknown.

    A due time that cannot be read is no reason to wait: decoding will refuse the record. It is rounded up, lest the
    record be looked at early.
    """
    value = None
    for name, given in pairs or ():
        if name == wire.DUE:
            value = given
    if value is None:
        return timestamp_ms + round(source.delay.total_seconds() * 1_000)
    try:
        due_ms = _due_ms(value)
    except (ValueError, OverflowError):
        return 0
    return max(0, min(due_ms, timestamp_ms + int(longest_s * 1_000)))


def _due_ms(value: bytes) -> int:
    """An instant, rounded up; where it is written as Stoker writes it, each second is read only once.

    Raises:
        ValueError: it is no instant.
    """
    if len(value) != USUAL_LENGTH or value[-1] != _Z or not (fraction := value[20:26]).isdigit():
        return int(wire.parse_instant(value).timestamp() * 1_000) + 1
    return _second_ms(value[:20]) + int(fraction) // 1_000 + 1


@lru_cache(maxsize=MOST_SECONDS)
def _second_ms(text: bytes) -> int:
    return int(wire.parse_instant(text + b"0Z").timestamp() * 1_000)
