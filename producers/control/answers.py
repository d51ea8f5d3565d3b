"""`Answers`: which workers have taken an order, by the word of their statuses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Message

from ...schemas import Undecodable, UnknownSchema
from ...schemas.own_records.control_records import WorkerState, WorkerStatus, decode_status, unread_order

LIVING_S: Final = 60.0
"""A worker that was silent for longer does not count as living; it writes its status every 5 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastStatus:
    """A worker's last status, and the epoch second at which the brokers took it."""

    status: WorkerStatus
    last_seen_at_s: float

    def silent_s(self, now_s: float) -> float:
        """How old its last status is, in seconds."""
        return max(0.0, now_s - self.last_seen_at_s)

    def is_living(self, now_s: float) -> bool:
        """Whether the worker counts: its last status is not `gone`, and not too old."""
        return self.status.state != WorkerState.GONE and self.silent_s(now_s) <= LIVING_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer of one worker to an order.

    Attributes:
        is_taken: whether it holds to the order; or cannot, where it is not `is_understood`.
        silent_s: how old the worker's last status is.
        inspection: JSON: what the worker was doing when it took an order to inspect; empty otherwise.
    """

    worker: str
    host: str
    is_taken: bool
    is_understood: bool
    silent_s: float
    state: str
    inspection: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers of the living workers to an order.

    Attributes:
        ended: how many jobs an order to cancel has ended, by the last statuses of all workers since then.
    """

    answers: tuple[Answer, ...]
    ended: int = 0

    @property
    def is_taken_by_all(self) -> bool:
        """Whether each living worker has taken the order and understands it; so too where there is none."""
        return all(answer.is_taken and answer.is_understood for answer in self.answers)

    @property
    def taken(self) -> list[Answer]:
        """The workers that have taken the order."""
        return [answer for answer in self.answers if answer.is_taken and answer.is_understood]

    @property
    def missing(self) -> list[Answer]:
        """The workers that have not taken the order, or do not understand it."""
        return [answer for answer in self.answers if not (answer.is_taken and answer.is_understood)]


class StatusBook:
    """The last status of each worker, folded from the records of the workers topic."""

    def __init__(self) -> None:
        self._statuses: dict[tuple[str, str, int], LastStatus] = {}
        self._inspected: dict[tuple[str, str, int], WorkerStatus] = {}

    def note(self, messages: Iterable[Message]) -> None:
        """Take records; one that cannot be read is of another version of Stoker, and passed over."""
        for message in messages:
            try:
                status = decode_status(message.value())
            except (Undecodable, UnknownSchema):
                continue
            process = status.id, status.host, status.pid
            self._statuses[process] = LastStatus(status=status, last_seen_at_s=message.timestamp()[1] / 1_000)
            if status.inspection:
                self._inspected[process] = status

    @property
    def statuses(self) -> list[LastStatus]:
        """The last status of each worker process."""
        return list(self._statuses.values())

    def answers(self, order_id: str, offset: int, now_s: float) -> Answers:
        """Read the answers of the living workers to the order at this offset of the control topic."""
        names = {order_id, unread_order(offset)}
        living = [(process, seen) for process, seen in self._statuses.items() if seen.is_living(now_s)]
        return Answers(
            answers=tuple(
                Answer(
                    worker=seen.status.id,
                    host=seen.status.host,
                    is_taken=seen.status.control_offset > offset,
                    is_understood=names.isdisjoint(seen.status.not_understood_ids),
                    silent_s=seen.silent_s(now_s),
                    state=seen.status.state,
                    inspection=self._inspection(process, offset),
                )
                for process, seen in living
            ),
            ended=sum(seen.status.ended.get(order_id, 0) for seen in self._statuses.values()),
        )

    def _inspection(self, process: tuple[str, str, int], offset: int) -> str:
        """The worker's answer to an order to inspect at this offset, or a later one."""
        status = self._inspected.get(process)
        return status.inspection if status is not None and status.control_offset > offset else ""
