"""`ControlOrder` and `WorkerStatus`: what operators order, and what each worker answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from .own import decode_own, encode_own, with_writable_texts

ENDED: Final = "ended"
BREAKERS: Final = "breakers"
LIMITS: Final = "limits"
"""The parts of `WorkerStatus.detail`."""


class WorkerState(StrEnum):
    """The state of a worker process."""

    STARTING = "starting"
    RUNNING = "running"
    QUIET = "quiet"
    STOPPING = "stopping"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPlace:
    """Where a record is."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOrder:
    """One order. Of its target, the fields that do not matter are None.

    Attributes:
        order_id: a UUID; equal for the same order, however often it was written.
        verb: what is ordered, as `topology/wire/orders.py` lists it; another one comes from a newer Stoker.
        worker: the id of a worker.
        worker_host: all workers of this host.
        discard: of a block: its jobs end, and do not wait.
        due_at: when the job is to run.
        until: the order is over at this instant.
        before: it is about jobs that were enqueued before this instant only.
        place: where the job waits, if the sender has looked it up.
        operator, host: who orders, and where.
        reason: a text for people.
    """

    order_id: str
    verb: str
    operator: str
    host: str
    at: datetime
    queue: str | None = None
    job_type: str | None = None
    key: bytes | None = None
    tenant: str | None = None
    partition: int | None = None
    job_id: str | None = None
    worker: str | None = None
    worker_host: str | None = None
    discard: bool = False
    due_at: datetime | None = None
    until: datetime | None = None
    before: datetime | None = None
    place: RecordPlace | None = None
    reason: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)

    def is_over(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.until is not None and self.until <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueShare:
    """A worker process's share of a queue.

    Attributes:
        busy: jobs that run.
        runners: how many jobs may run at once.
    """

    queue: str
    partitions: tuple[int, ...]
    busy: int
    runners: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """The state of a worker process, which it writes every few seconds; so readers know that it lives.

    Attributes:
        version: of Stoker.
        state: one of `WorkerState`, or another one of a newer Stoker.
        control_offset: the worker has taken all orders of the control topic below it.
        control_age_s: for how long the worker does not know whether there are more.
        not_understood: how many standing orders it does not understand; `not_understood_ids` has the latest of them,
            each by its id, or by its place (see `unread_order`) where the worker cannot even read that.
        inspection: JSON: the answer to an order to inspect; empty otherwise.
        detail: `ended`, JSON: {id of an order to cancel: how many jobs it has ended in this process}; `breakers`, JSON:
            {breaker that is not closed: its state in this process, and how many jobs wait for it there}; `limits`,
            JSON: {limit: what is used of it, and waits for it, as far as this process knows}.
    """

    id: str
    host: str
    pid: int
    version: str
    state: str
    started_at: datetime
    at: datetime
    queues: tuple[QueueShare, ...]
    memory_bytes: int
    control_offset: int
    control_age_s: float
    not_understood: int = 0
    not_understood_ids: tuple[str, ...] = ()
    inspection: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> Mapping[str, int]:
        """{id of an order to cancel: how many jobs it has ended in this process}, of the latest orders."""
        found: Mapping[str, int] = self._part(ENDED)
        return found

    @property
    def breakers(self) -> Mapping[str, Mapping[str, Any]]:
        """{breaker that is not closed, as `dependency/stripe`: its `state`, and how many jobs are `held`}."""
        found: Mapping[str, Mapping[str, Any]] = self._part(BREAKERS)
        return found

    @property
    def limits(self) -> Mapping[str, Mapping[str, Any]]:
        """{limit of a queue of this process: its report, as `LimitReport` has it}."""
        found: Mapping[str, Mapping[str, Any]] = self._part(LIMITS)
        return found

    def _part(self, name: str) -> Any:  # as JSON has it
        try:
            return json.loads(self.detail.get(name, "{}"))
        except ValueError:
            return {}


MOST_IDS: Final = 100
"""The number of orders that a worker does not understand and of which it lists the ids, at most."""


def unread_order(offset: int) -> str:
    """The text that stands for the id of an order that cannot be read, as a newer schema has written it.

    >>> unread_order(7)
    '@7'
    """
    return f"@{offset}"


def encode_order(order: ControlOrder) -> bytes:
    """Write an order, framed."""
    return encode_own("ControlOrder", with_writable_texts(asdict(order)))


def decode_order(value: bytes | None) -> ControlOrder:
    """Read an order.

    Raises:
        Undecodable: the bytes are no order.
        UnknownSchema: a newer Stoker wrote it.
    """
    datum = decode_own("ControlOrder", value)
    place = datum.pop("place")
    return ControlOrder(**datum, place=None if place is None else RecordPlace(**place))


def encode_status(status: WorkerStatus) -> bytes:
    """Write a status, framed."""
    return encode_own("WorkerStatus", asdict(status))


def decode_status(value: bytes | None) -> WorkerStatus:
    """Read a status.

    Raises:
        Undecodable: the bytes are no status.
        UnknownSchema: another version of Stoker wrote it.
    """
    datum = decode_own("WorkerStatus", value)
    shares = tuple(QueueShare(**{**share, "partitions": tuple(share["partitions"])}) for share in datum.pop("queues"))
    return WorkerStatus(**{**datum, "not_understood_ids": tuple(datum["not_understood_ids"])}, queues=shares)
