"""Records of Kafka packed into bytes, which take a quarter of what the client's messages take.

The names of headers are kept once for all records with the same ones, as long as these are not too many.
"""

from __future__ import annotations

import marshal
from itertools import count
from typing import Final, cast

from confluent_kafka import Message

from ...topology.wire.headers import HeaderList
from ..progress.assignment import Assignment
from ..records.record import Record

MOST_NAMES: Final = 1_000
"""Foreign producers may name headers at random: beyond so many, records keep their names."""

_NAMES: Final[dict[int, tuple[str, ...]]] = {}
_NUMBERS: Final[dict[tuple[str, ...], int]] = {}
_NEXT: Final = count()


def packed_record(message: Message, offset: int, timestamp_ms: int, pairs: HeaderList | None) -> bytes:
    """Pack a message; `pairs` are its headers, None where they cannot be read."""
    number = _number_of(tuple([name for name, _ in pairs])) if pairs else None
    if number is None or pairs is None:
        return marshal.dumps((offset, timestamp_ms, message.key(), message.value(), pairs))
    values = [value for _, value in pairs]
    return marshal.dumps((offset, timestamp_ms, message.key(), message.value(), number, *values))


def _number_of(names: tuple[str, ...]) -> int | None:
    """The number under which names are kept; None where there are too many."""
    number = _NUMBERS.get(names)
    if number is None and len(_NAMES) < MOST_NAMES:
        number = next(_NEXT)  # two threads may number the same names: either number gives them
        _NAMES[number], _NUMBERS[names] = names, number
    return number


def unpacked_record(packed: bytes, assignment: Assignment) -> Record:
    """The record of an assignment again."""
    return Record(cast(Message, _PackedMessage(packed)), assignment)


class _PackedMessage:
    """A packed record, to be read as a message of the client."""

    __slots__ = ("_headers", "_key", "_offset", "_timestamp_ms", "_value")

    def __init__(self, packed: bytes) -> None:
        read: tuple[int, int, bytes | None, bytes | None, int | HeaderList | None] = marshal.loads(packed)
        self._offset, self._timestamp_ms, self._key, self._value, headers = read[:5]
        self._headers = list(zip(_NAMES[headers], read[5:], strict=True)) if isinstance(headers, int) else headers

    def offset(self) -> int:
        """The record's offset."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """Kind and epoch milliseconds."""
        return 2, self._timestamp_ms

    def key(self) -> bytes | None:
        """The record's key."""
        return self._key

    def value(self) -> bytes | None:
        """The record's value."""
        return self._value

    def headers(self) -> HeaderList:
        """The record's headers.

        Raises:
            SystemError: the client cannot read them.
        """
        if self._headers is None:
            raise SystemError("the headers of the record cannot be read")
        return self._headers
