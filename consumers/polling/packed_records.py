"""Records of Kafka packed into bytes, which take a third of what the client's messages take."""

from __future__ import annotations

import marshal
from typing import cast

from confluent_kafka import Message

from ...topology.wire.headers import HeaderList
from ..records.assignment import Assignment
from ..records.record import Record


def packed_record(message: Message, offset: int, timestamp_ms: int, pairs: HeaderList | None) -> bytes:
    """Pack a message; `pairs` are its headers, None where they cannot be read."""
    return marshal.dumps((offset, timestamp_ms, message.key(), message.value(), pairs))


def unpacked_record(packed: bytes, assignment: Assignment) -> Record:
    """The record of an assignment again."""
    return Record(cast(Message, _PackedMessage(packed)), assignment)


class _PackedMessage:
    """A packed record, to be read as a message of the client."""

    __slots__ = ("_headers", "_key", "_offset", "_timestamp_ms", "_value")

    def __init__(self, packed: bytes) -> None:
        read: tuple[int, int, bytes | None, bytes | None, HeaderList | None] = marshal.loads(packed)
        self._offset, self._timestamp_ms, self._key, self._value, self._headers = read

    def offset(self) -> int:
        """Of the record."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """Kind and epoch milliseconds."""
        return 2, self._timestamp_ms

    def key(self) -> bytes | None:
        """Of the record."""
        return self._key

    def value(self) -> bytes | None:
        """Of the record."""
        return self._value

    def headers(self) -> HeaderList:
        """Of the record.

        Raises:
            SystemError: the client cannot read them.
        """
        if self._headers is None:
            raise SystemError("the headers of the record cannot be read")
        return self._headers
