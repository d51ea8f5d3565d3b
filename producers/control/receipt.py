"""`OrderReceipt`: an order that stands, and the way to wait until the workers have taken it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from confluent_kafka import KafkaException

from ...schemas.own_records.control_records import ControlOrder
from ...topology import ClusterSettings
from ...topology.cluster.handshake import unreachable
from .answers import LIVING_S, Answers, StatusBook
from .log_reader import QUICK_END_MS, LogReader

DEFAULT_WAIT: Final = timedelta(seconds=10)
_STEP_S: Final = 0.1
_ASK_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReceipt:
    """An order that the brokers have confirmed.

    Attributes:
        offset: where it is on the control topic.
        at_s: the brokers' time at which they took it, in epoch seconds.
        asked_at_s: the same moment by this process's monotonic clock.
        count: so many jobs are named one by one; `order` has the last of them.
    """

    order: ControlOrder
    offset: int
    at_s: float
    asked_at_s: float
    cluster: ClusterSettings
    workers_topic: str
    count: int = 1

    @property
    def order_id(self) -> str:
        """The order's id."""
        return self.order.order_id

    def wait(self, timeout: timedelta = DEFAULT_WAIT, is_enough: Callable[[Answers], bool] | None = None) -> Answers:
        """Wait until all living workers have taken the order; what they have answered by then, where they have not.

        Args:
            is_enough: ends the wait; None asks for all living workers.

        Raises:
            ClusterUnreachable: the brokers do not answer.
        """
        reader = LogReader(
            self.cluster,
            self.workers_topic,
            client_id="stoker-control",
            options={"fetch.wait.max.ms": QUICK_END_MS},
        )
        try:
            reader.start_at_time(self.at_s - LIVING_S, _ASK_S)
            return self._watch(reader, time.monotonic() + timeout.total_seconds(), is_enough or _is_taken_by_all)
        except KafkaException as failed:
            raise unreachable(self.cluster, [failed.args[0].str()]) from failed
        finally:
            reader.close()

    def _watch(self, reader: LogReader, deadline_at_s: float, is_enough: Callable[[Answers], bool]) -> Answers:
        """Read to the end first: only then is it known who lives."""
        book, was_at_end, end = StatusBook(), False, reader.ask_end(_ASK_S)[1]
        while True:
            book.note(reader.read(_STEP_S))
            was_at_end = was_at_end or reader.is_at_end or reader.position >= end
            now_s = time.monotonic()
            answers = book.answers(self.order_id, self.offset, self.at_s + now_s - self.asked_at_s)
            if was_at_end and is_enough(answers):
                return answers
            if now_s >= deadline_at_s:
                if not was_at_end:
                    raise unreachable(self.cluster, [f"{self.workers_topic} could not be read in time"])
                return answers


def _is_taken_by_all(answers: Answers) -> bool:
    return all(answer.is_taken for answer in answers.answers)
