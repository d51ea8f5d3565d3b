"""Questions to the leaders of partitions: asked once more while one has no leader, as after its topic was made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final, TypeVar

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without `__all__`
    AdminClient,
    ListOffsetsResultInfo,
    OffsetSpec,
)

from .kafka_errors import NO_LEADER

T = TypeVar("T")
Offsets = dict[TopicPartition, Future[ListOffsetsResultInfo]]

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
            if not _is_leaderless(failed) or time.monotonic() > give_up_at_s:
                raise
        time.sleep(_ASK_AGAIN_S)


def answered(places: list[TopicPartition]) -> list[TopicPartition]:
    """Partitions as the client has answered for them.

    Raises:
        KafkaException: there is no answer for one of them. Its offset looks as if there was nothing at a time.
    """
    for place in places:
        if place.error is not None:
            raise KafkaException(place.error)
    return places


def ask_offsets(
    client: AdminClient,
    wanted: Mapping[TopicPartition, OffsetSpec],
    within_s: float,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> Offsets:
    """Ask for offsets as the client does, and once more for those of partitions that have no leader yet.

    A broker shows a topic that was just made a moment before it leads the topic's partitions.

    Returns:
        {partition: its answer}; it has come, or does not come in time.
    """
    give_up_at_s = time.monotonic() + within_s
    answers: Offsets = dict(client.list_offsets(dict(wanted), request_timeout=within_s, isolation_level=isolation))
    while again := [place for place, answer in answers.items() if _has_no_leader(answer, give_up_at_s)]:
        left_s = give_up_at_s - time.monotonic()
        if left_s <= _ASK_AGAIN_S:
            break
        time.sleep(_ASK_AGAIN_S)
        once_more = {place: wanted[place] for place in again}
        answers |= client.list_offsets(once_more, request_timeout=left_s, isolation_level=isolation)
    return answers


def _has_no_leader(answer: Future[ListOffsetsResultInfo], wait_until_at_s: float) -> bool:
    try:
        return _is_leaderless(answer.exception(max(wait_until_at_s - time.monotonic(), 0)))
    except FutureTimeout:
        return False


def _is_leaderless(failed: BaseException | None) -> bool:
    return isinstance(failed, KafkaException) and failed.args[0].code() in NO_LEADER
