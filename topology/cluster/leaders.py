"""`ask_leaders`: asks once more while a partition has no leader, as right after its topic was made."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from confluent_kafka import KafkaException

from .kafka_errors import NO_LEADER

T = TypeVar("T")

_ASK_AGAIN_S: Final = 0.05


def ask_leaders(request: Callable[[], T], within_s: float) -> T:
    """Repeat the request until its partitions have leaders, and return its answer.

    Raises:
        KafkaException: as the request; there was no leader for so long.
    """
    give_up_at_s = time.monotonic() + within_s
    while True:
        try:
            return request()
        except KafkaException as failed:
            if failed.args[0].code() not in NO_LEADER or time.monotonic() > give_up_at_s:
                raise
        time.sleep(_ASK_AGAIN_S)
