"""`OrderRemover`: removes orders from the control topic that have nothing left to do, so that it stays small.

A removal takes along whichever order stands under its key before it, since compaction keeps the removal alone. So it is
written in a transaction, which this worker commits once it has read all records before it, and found no newer order
under its keys. Otherwise it undoes the transaction, and so do the brokers where the worker dies before that.
"""

from __future__ import annotations

import logging
import random
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Protocol

from ...producers.client import Outage
from ...producers.control.log_reader import PARTITION
from ...producers.errors import SettingRefused
from ...producers.transaction_writer import TransactionFailed, TransactionRecord, TransactionWriter, Withdrawn
from ...schemas.own_records.control_records import RecordPlace, encode_order
from ...topology import ClusterSettings
from ...topology.wire import headers as wire
from ...topology.wire.orders import lifting_order

_LOGGER = logging.getLogger("stoker.control")

WITHIN_S: Final = 2.0
"""How long the control thread waits for the brokers: meanwhile it takes no orders."""
READ_WITHIN_S: Final = 1.0
"""How long other readers of the topic wait behind a transaction at most, as long as its worker lives."""
REST_S: Final = 0.5
"""Between two transactions."""
MOST_AT_ONCE: Final = 1_000
AFTER_FAILURE_S: Final = 30.0


class OrderReader(Protocol):
    """Takes the orders of the control topic."""

    def read_to(self, offset: int, within_s: float) -> bool:
        """Take the orders below an offset, for so long at the most; whether all of them are taken."""


@dataclass(frozen=True, slots=True)
class _Removal:
    """The removal of the order with this id.

    Attributes:
        reason: for people.
    """

    order_id: str
    reason: str


class OrderRemover:
    """Writes to one topic; the control thread alone calls it. Connects with the first order to remove.

    What cannot be removed is tried again; what is left at the end is removed by whoever reads it once its time is over.
    """

    def __init__(self, cluster: ClusterSettings, topic: str, worker_id: str) -> None:
        self._topic, self._worker_id = topic, worker_id
        client_id = f"{worker_id}-control"
        outage = Outage(cluster.bootstrap_servers, f"client {client_id}", "it repeats that", logging.DEBUG)
        transactional_id = f"{topic}.{uuid.uuid4().hex}"
        self._writer = TransactionWriter(cluster, transactional_id, outage, client_id=client_id, within_s=WITHIN_S)
        self._pending: dict[bytes, _Removal] = {}
        self._most = MOST_AT_ONCE
        self._next_at_s = 0.0
        self._was_logged = False

    def remove_soon(self, key: bytes, order_id: str, reason: str) -> None:
        """Remove the order with this id under a key, soon."""
        self._pending[key] = _Removal(order_id, reason)

    def note_taken(self, key: bytes, order_id: str) -> None:
        """Note an order that has come from the topic: a newer one than that to be removed stands."""
        pending = self._pending.get(key)
        if pending is not None and pending.order_id != order_id:
            del self._pending[key]

    def note_lifted(self, key: bytes) -> None:
        """Note a record that has come, and lifts whichever order stands."""
        self._pending.pop(key, None)

    def note_removed(self, key: bytes, order_id: str) -> None:
        """Note a removal that has come, by whichever worker."""
        pending = self._pending.get(key)
        if pending is not None and pending.order_id == order_id:
            del self._pending[key]

    def turn(self, orders: OrderReader) -> None:
        """Remove some of what is to be removed; `orders` takes those that are on the topic before that."""
        if not self._pending or time.monotonic() < self._next_at_s:
            return
        some = dict(islice(self._pending.items(), self._most))
        try:
            self._remove(some, orders)
        except Withdrawn:
            self._next_at_s = time.monotonic() + REST_S * (1 + random.random())  # not in step with other workers
            self._most = max(1, len(some) // 2)
        except (SettingRefused, TransactionFailed) as failed:
            self._note_failed(failed)
        else:
            self._next_at_s = time.monotonic() + REST_S
            self._most, self._was_logged = min(MOST_AT_ONCE, 2 * self._most), False
            for key, removal in some.items():
                self.note_removed(key, removal.order_id)

    def close(self) -> None:
        """Disconnect. It removes nothing more: a worker that ends amid that would hold up all readers of the topic."""
        self._writer.close()

    def _remove(self, some: Mapping[bytes, _Removal], orders: OrderReader) -> None:
        """Remove these orders, all or none.

        Raises:
            Withdrawn: a newer order stands under one of their keys, or one may: none was removed.
            TransactionFailed: they are perhaps not removed.
        """

        def check(places: Sequence[RecordPlace]) -> Sequence[TransactionRecord]:
            first, last = places[0].offset, places[-1].offset
            has_others_between = last - first >= len(places)  # readers see none of them before the transaction ends
            if has_others_between or not orders.read_to(first, READ_WITHIN_S):
                raise Withdrawn
            if any(self._pending.get(key) is not removal for key, removal in some.items()):
                raise Withdrawn
            return ()

        if not self._writer.is_connected:
            self._writer.connect()
        self._writer.write([self._record(key, removal) for key, removal in some.items()], check)

    def _record(self, key: bytes, removal: _Removal) -> TransactionRecord:
        order = lifting_order(
            key,
            removed=removal.order_id,
            order_id=str(uuid.uuid4()),
            operator=f"worker {self._worker_id}",
            host=socket.gethostname(),
            at=datetime.now(UTC),
            reason=removal.reason,
        )
        headers: wire.HeaderList = [(wire.ORDER, encode_order(order))]
        return TransactionRecord(topic=self._topic, key=key, value=None, headers=headers, partition=PARTITION)

    def _note_failed(self, failed: SettingRefused | TransactionFailed) -> None:
        self._next_at_s = time.monotonic() + AFTER_FAILURE_S
        if not self._was_logged:
            self._was_logged = True
            is_forbidden = isinstance(failed, TransactionFailed) and failed.is_forbidden
            fix = (
                f"; grant Write on topic {self._topic} and on transactional-id {self._topic}.*" if is_forbidden else ""
            )
            _LOGGER.warning(
                "the worker cannot remove orders that have nothing left to do from %s (%s%s): it tries again every "
                "%.0f s. Jobs go on", self._topic, failed, fix, AFTER_FAILURE_S,
            )  # fmt: skip
