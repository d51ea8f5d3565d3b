"""`StableEnds`: waits until readers of committed records see what a transaction has written.

The brokers answer a commit before they end the transaction on each partition. Until then a look at the partition, by
the program that has committed or by the next command of its user, finds nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from confluent_kafka import IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without `__all__`
    AdminClient,
    OffsetSpec,
)

from .answers import wait_answer
from .clients import make_client
from .leaders import ask_offsets
from .settings import ClusterSettings

SEEN_WITHIN_S: Final = 5.0
"""Usually milliseconds; another writer's open transaction may take longer, which no reader waits for."""
_LOOK_AGAIN_S: Final = 0.005


class StableEnds:
    """Asks where the committed records of partitions end. Not thread-safe; connects with the first question."""

    def __init__(self, cluster: ClusterSettings, *, client_id: str) -> None:
        self._config = cluster.client_config(log_level=2, client_id=client_id)
        self._client: AdminClient | None = None

    def wait_past(self, places: Iterable[TopicPartition], within_s: float = SEEN_WITHIN_S) -> bool:
        """Wait until all these records are seen. Whether they are: they stay committed also where the time is over."""
        give_up_at_s = time.monotonic() + within_s
        unseen = {TopicPartition(place.topic, place.partition): place.offset for place in sorted(places, key=_offset)}
        while unseen := self._unseen(unseen, give_up_at_s - time.monotonic()):
            if time.monotonic() > give_up_at_s:
                return False
            time.sleep(_LOOK_AGAIN_S)
        return True

    def _unseen(self, wanted: dict[TopicPartition, int], within_s: float) -> dict[TopicPartition, int]:
        if self._client is None:
            self._client = make_client(AdminClient, self._config)
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the package has no types for it
        bound_s = max(within_s, _LOOK_AGAIN_S)
        found = ask_offsets(self._client, dict.fromkeys(wanted, latest), bound_s, IsolationLevel.READ_COMMITTED)
        ends = {}
        for place, answer in found.items():
            end = wait_answer(answer, time.monotonic() + bound_s)
            # Brokers that go away now have answered the commit.
            ends[place] = 0 if isinstance(end, KafkaError) else end.offset
        return {place: offset for place, offset in wanted.items() if ends[place] <= offset}


def _offset(place: TopicPartition) -> int:
    return place.offset
