"""The result of a delivery: a receipt from the brokers, or the error its caller gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from confluent_kafka import KafkaError, Message

from ..topology.cluster.kafka_errors import FORBIDDEN, Remedy, codes_of, remedy_of
from .client import AUTHORIZATION_CODES, Outage
from .errors import (
    BrokerUnreachable,
    DeliveryFailed,
    EnqueueError,
    NotAuthorized,
    NotAuthorizedAtStart,
    RecordTooLarge,
    TopologyNotReady,
    UnknownTopic,
    UnreachableAtStart,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The brokers' confirmation of one job: all in-sync replicas have it.

    Attributes:
        due_at: the instant before which the job does not start; None where it may start at once.
    """

    job_id: str
    topic: str
    partition: int
    offset: int
    due_at: datetime | None = None


Outcome = Receipt | EnqueueError
Settle = Callable[[Outcome], None]
"""Takes what became of one job; called once, in the thread that reads the reports or one that publishes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkResult:
    """All jobs of an `enqueue_many` are confirmed, or durable in the producer's spool.

    Attributes:
        confirmed: how many the brokers have.
        spooled: how many wait in the spool; 0 without one.
    """

    confirmed: int
    spooled: int = 0


_GUESSED: Final = KafkaError(KafkaError._MSG_TIMED_OUT, "no broker has confirmed where the record is stored")


def why_unconfirmed(error: KafkaError | None, message: Message) -> KafkaError | None:
    """Why a delivery report confirms nothing; None where it does.

    A report with neither error nor offset is the client's own guess: when a request for a partition is accepted, it
    takes those before it for stored. A leader that has just taken over accepts any request of a producer that it does
    not know yet, also where the one before was refused, and its records are nowhere.
    """
    return _GUESSED if error is None and message.offset() is None else error


def receipt_of(message: Message, job_id: str, topic: str) -> Receipt:
    """The receipt of a confirmed record, which has both numbers; the client's types allow None for them."""
    return Receipt(job_id=job_id, topic=topic, partition=message.partition() or 0, offset=message.offset() or 0)


JobError = type[BrokerUnreachable | DeliveryFailed | NotAuthorized | RecordTooLarge | UnknownTopic]

_UNREACHABLE: Final = frozenset(
    {
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
_TOO_LARGE: Final = codes_of(Remedy.SHRINK)
_NO_TOPIC: Final = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._DESTROY,
    }
)
"""The last one is what records end with whose partition the client has given up, because its topic is gone."""


def delivery_error(error: KafkaError, job_id: str, topic: str, outage: Outage) -> EnqueueError:
    """Find what a delivery report's error means to the caller.

    Args:
        outage: what the client knows about its brokers, to distinguish refused credentials from silence.
    """
    found = _error_class(error.code(), outage)(job_id, topic, _reason(error, topic, outage))
    if error.code() in _UNREACHABLE:
        found.maybe_published = True  # also where new connections are refused: the one before may have carried it
    return found


def start_error(error: KafkaError, topic: str, outage: Outage) -> EnqueueError:
    """Find what an unanswered or refused question about a topic means, where no job is on its way."""
    reason = _reason(error, topic, outage)
    kind = _error_class(error.code(), outage)
    if kind is UnknownTopic:
        return TopologyNotReady(f"topic {topic} does not exist; run `stoker topology apply`")
    if kind is NotAuthorized:
        return NotAuthorizedAtStart("", topic, reason)
    if remedy_of(error) is Remedy.REPAIR:
        return TopologyNotReady(f"the brokers have no topic {topic!r}: {reason}; correct its name")
    return UnreachableAtStart("", topic, f"{reason}; look whether the cluster is up and bootstrap_servers is right")


def _error_class(code: int, outage: Outage) -> JobError:
    if _lacks_right(code, outage) or code in AUTHORIZATION_CODES or (code in _UNREACHABLE and outage.is_refusal):
        return NotAuthorized
    if code in _UNREACHABLE:
        return BrokerUnreachable
    if code in _TOO_LARGE:
        return RecordTooLarge
    return UnknownTopic if code in _NO_TOPIC else DeliveryFailed


def _lacks_right(code: int, outage: Outage) -> bool:
    """Whether the brokers refuse to let this client write; one that may write nowhere ends with a fatal error."""
    return code in FORBIDDEN or (outage.fatal is not None and outage.fatal.code() in FORBIDDEN)


def _reason(error: KafkaError, topic: str, outage: Outage) -> str:
    if _lacks_right(error.code(), outage):
        return f"{error.str()}; {outage.principal} lacks the ACL operation Write on topic {topic}"
    if outage.cause is None or outage.cause == error:
        return error.str()
    return f"{error.str()}; {outage.cause.str()}"
