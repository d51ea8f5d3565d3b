"""Descriptions of consumer groups by their coordinators, asked in a way that the asking process survives.

librdkafka up to 2.16 ends the whole process (`eonce->refcnt > 0` failed) where it has given up a question about a group
by its own time limit, and the coordinator comes back afterwards, as at each restart of a broker
(confluentinc/librdkafka, issue 4605). So that limit is never reached here: the time is kept outside, and a client whose
answer is late is closed with its question.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, Final, TypeAlias

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from .answers import wait_answer
from .clients import make_client
from .kafka_errors import NO_COORDINATOR
from .settings import ClusterSettings

_CLIENT_LIMIT_S: Final = 3_600.0
_ASK_AGAIN_S: Final = 0.2
_LATE: Final = "the group's coordinator did not answer in time"

Answer: TypeAlias = Any | KafkaError
"""A description, whose class the client does not export, or why there is none."""


def describe_groups(
    cluster: ClusterSettings,
    groups: Collection[str],
    timeout_s: float,
    *,
    client_id: str = "stoker-admin",
    with_operations: bool = False,
    on_client_error: Callable[[KafkaError], None] = lambda _error: None,
) -> dict[str, Answer]:
    """Ask for some groups, for as long as their coordinators only come or go.

    Args:
        with_operations: asks for the operations, too, that this client may do with each.
        on_client_error: takes the client's messages about its connections.

    Returns:
        {group: its description, or the error}; an answer that does not come within `timeout_s` is `_TIMED_OUT`.
    """
    config: dict[str, object] = {**cluster.client_config(log_level=2, client_id=client_id), "error_cb": on_client_error}
    admin, give_up_at_s = make_client(AdminClient, config), time.monotonic() + timeout_s
    answers: dict[str, Answer] = {}
    missing = list(groups)
    while missing:
        asked = admin.describe_consumer_groups(
            missing, include_authorized_operations=with_operations, request_timeout=_CLIENT_LIMIT_S
        )
        answers |= {group: wait_answer(future, give_up_at_s, _LATE) for group, future in asked.items()}
        missing = [group for group in missing if _is_momentary(answers[group])]
        if time.monotonic() >= give_up_at_s:
            break
        if missing:
            time.sleep(_ASK_AGAIN_S)
    admin.poll(0)  # hands out the client's errors
    return answers


def _is_momentary(answer: Answer) -> bool:
    return isinstance(answer, KafkaError) and answer.code() in NO_COORDINATOR
