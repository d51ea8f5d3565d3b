"""Waits for an answer to an admin client, and returns its error in place of raising it.

A raised error would keep its traceback, with the client in it, in a cycle: the frame has the future, the future has the
error, and the error's traceback has the frame. librdkafka ends the process where a collection of garbage on the
client's own thread closes the client.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

T = TypeVar("T")


def wait_answer(future: Future[T], give_up_at_s: float, late: str = "no answer came in time") -> T | KafkaError:
    """Wait for one answer until then, by the monotonic clock.

    Returns:
        The answer, or why there is none; `_TIMED_OUT` with the text of `late` where it does not come.
    """
    try:
        failed = future.exception(timeout=max(0.0, give_up_at_s - time.monotonic()))
    except FutureTimeout:
        return KafkaError(KafkaError._TIMED_OUT, late)
    if failed is None:
        return future.result()
    if isinstance(failed, KafkaException):
        error: KafkaError = failed.args[0]
        return error
    raise failed
