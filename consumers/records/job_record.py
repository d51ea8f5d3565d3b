"""`JobRecord`: what a job may know of its Kafka record, in the worker's process as in a child."""

from __future__ import annotations

from typing import Protocol

from ...topology.wire.headers import HeaderList, HeaderMap
from .header_layout import HeaderLayout


class JobRecord(Protocol):
    """A Kafka record that holds a job; `str()` of it is `topic/partition/offset`."""

    @property
    def topic(self) -> str:
        """The topic from which the record was read: the queue's own, or one of its retry tiers."""
        ...

    @property
    def partition(self) -> int:
        """The number of its partition."""
        ...

    @property
    def offset(self) -> int:
        """The record's offset in the partition."""
        ...

    @property
    def timestamp_ms(self) -> int:
        """When it was published, in milliseconds since 1970."""
        ...

    @property
    def key(self) -> bytes | None:
        """The ordering key."""
        ...

    @property
    def value(self) -> bytes | None:
        """The encoded payload."""
        ...

    @property
    def headers(self) -> HeaderMap:
        """{name: value}; of a repeated name the last one."""
        ...

    @property
    def pairs(self) -> HeaderList:
        """The headers as they came, in their order."""
        ...

    @property
    def layout(self) -> HeaderLayout:
        """Where each header stands among them."""
        ...

    @property
    def deduplication_id(self) -> str | None:
        """The record's name in the ledger; None where the record carries no id."""
        ...
