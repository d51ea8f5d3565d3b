"""The remedy for each error of a broker or of the client: one table for all that write to Kafka, or ask it.

An error that is in no row counts as one that heals by waiting: a write that is repeated in vain is logged and seen,
one that is given up is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from confluent_kafka import KafkaError, KafkaException


class Remedy(Enum):
    """The change that makes the same request succeed.

    WAIT: nothing needs to be done, it heals by itself, as an election does.
    SHRINK: the record is too large, and stays so: only a smaller form of it can be written.
    ALONE: a record of the batch is refused for what it is: written alone, the others succeed.
    REPAIR: a person must fix a topic, a broker or a setting.
    GRANT: a person must grant a right, or fix the credentials.
    NEW_CLIENT: this client is finished; another one may succeed.
    NEW_CODE: the request makes no sense to the brokers, or to the client; only another version of a program helps.
    NONE: it is no failure, but a signal.
    """

    WAIT = "wait"
    SHRINK = "shrink"
    ALONE = "alone"
    REPAIR = "repair"
    GRANT = "grant"
    NEW_CLIENT = "new client"
    NEW_CODE = "new code"
    NONE = "none"


UNLISTED: Final = Remedy.WAIT

_ROWS: Final[Mapping[Remedy, tuple[int, ...]]] = {
    Remedy.WAIT: (
        # the way to the brokers
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._FAIL,
        KafkaError._DESTROY_BROKER,
        KafkaError._UNKNOWN_BROKER,
        KafkaError._INTR,
        KafkaError._BAD_MSG,
        KafkaError._UNDERFLOW,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.INVALID_MSG,  # its checksum is wrong: it was damaged on its way
        KafkaError.REBOOTSTRAP_REQUIRED,
        # the client itself, for a moment
        KafkaError._QUEUE_FULL,
        KafkaError._RETRY,
        KafkaError._IN_PROGRESS,
        KafkaError._PREV_IN_PROGRESS,
        KafkaError._WAIT_COORD,
        KafkaError._WAIT_CACHE,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._OUTDATED,
        KafkaError._NO_OFFSET,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError._LOG_TRUNCATION,
        KafkaError._PARTIAL,
        # leaders, replicas and disks
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.PREFERRED_LEADER_NOT_AVAILABLE,
        KafkaError.ELIGIBLE_LEADERS_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError._ISR_INSUFF,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.REASSIGNMENT_IN_PROGRESS,
        KafkaError.UNKNOWN,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
        # controllers and coordinators
        KafkaError.NOT_CONTROLLER,
        KafkaError.STALE_CTRL_EPOCH,
        KafkaError.STALE_BROKER_EPOCH,
        KafkaError.UNKNOWN_CONTROLLER_ID,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.TRANSACTION_ABORTABLE,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        # groups, which their members join anew
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.MEMBER_ID_REQUIRED,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.UNRELEASED_INSTANCE_ID,
        KafkaError.GROUP_SUBSCRIBED_TO_TOPIC,
        KafkaError.NON_EMPTY_GROUP,
        # sessions, which the client begins anew
        KafkaError.FETCH_SESSION_ID_NOT_FOUND,
        KafkaError.INVALID_FETCH_SESSION_EPOCH,
        KafkaError.SHARE_SESSION_NOT_FOUND,
        KafkaError.INVALID_SHARE_SESSION_EPOCH,
        KafkaError.SHARE_SESSION_LIMIT_REACHED,
        KafkaError.FENCED_STATE_EPOCH,
        KafkaError.INVALID_RECORD_STATE,
        KafkaError.STREAMS_INVALID_TOPOLOGY_EPOCH,
        KafkaError.STREAMS_TOPOLOGY_FENCED,
        KafkaError.UNKNOWN_SUBSCRIPTION_ID,
        # the producer's numbers, which the client sets right, or else calls fatal
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.DUPLICATE_SEQUENCE_NUMBER,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.OPERATION_NOT_ATTEMPTED,
    ),
    Remedy.SHRINK: (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE),
    Remedy.ALONE: (KafkaError.INVALID_RECORD, KafkaError._INVALID_DIFFERENT_RECORD),
    Remedy.REPAIR: (
        # a topic that is missing, or of another shape
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.INCONSISTENT_TOPIC_ID,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._DESTROY,  # so records end whose partition the client has given up, because its topic is gone
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_ALREADY_EXISTS,
        KafkaError.TOPIC_DELETION_DISABLED,
        KafkaError.RESOURCE_NOT_FOUND,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError._AUTO_OFFSET_RESET,
        # what the cluster's settings or its age forbid
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        KafkaError.INVALID_COMMIT_OFFSET_SIZE,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError.POLICY_VIOLATION,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_REPLICA_ASSIGNMENT,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.UNSUPPORTED_ASSIGNOR,
        KafkaError.GROUP_MAX_SIZE_REACHED,
        KafkaError.GROUP_ID_NOT_FOUND,
        KafkaError._UNKNOWN_GROUP,
        KafkaError.LOG_DIR_NOT_FOUND,
        KafkaError.LISTENER_NOT_FOUND,
        KafkaError.MISMATCHED_ENDPOINT_TYPE,
        KafkaError.UNSUPPORTED_ENDPOINT_TYPE,
        KafkaError.FEATURE_UPDATE_FAILED,
        KafkaError.INCONSISTENT_VOTER_SET,
        KafkaError.INVALID_UPDATE_VERSION,
        KafkaError.INVALID_VOTER_KEY,
        KafkaError.DUPLICATE_VOTER,
        KafkaError.VOTER_NOT_FOUND,
        KafkaError.INVALID_REGISTRATION,
        KafkaError.NO_REASSIGNMENT_IN_PROGRESS,
        KafkaError.ELECTION_NOT_NEEDED,
        # this machine, and how it talks to the brokers
        KafkaError._SSL,
        KafkaError._CRIT_SYS_RESOURCE,
        KafkaError._FS,
        KafkaError._BAD_COMPRESSION,
    ),
    Remedy.GRANT: (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
        KafkaError.DELEGATION_TOKEN_AUTH_DISABLED,
        KafkaError.DELEGATION_TOKEN_EXPIRED,
        KafkaError.DELEGATION_TOKEN_NOT_FOUND,
        KafkaError.DELEGATION_TOKEN_OWNER_MISMATCH,
        KafkaError.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.UNACCEPTABLE_CREDENTIAL,
        KafkaError.INVALID_PRINCIPAL_TYPE,
        KafkaError.PRINCIPAL_DESERIALIZATION_FAILURE,
        KafkaError.SECURITY_DISABLED,
        KafkaError._AUTHENTICATION,
    ),
    Remedy.NEW_CLIENT: (
        KafkaError._FATAL,
        KafkaError._FENCED,
        KafkaError._GAPLESS_GUARANTEE,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.TRANSACTION_COORDINATOR_FENCED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._INCONSISTENT,
    ),
    Remedy.NEW_CODE: (
        KafkaError.INVALID_REQUEST,
        KafkaError.INVALID_REQUIRED_ACKS,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.INVALID_TXN_STATE,
        KafkaError.DUPLICATE_RESOURCE,
        KafkaError.TELEMETRY_TOO_LARGE,
        KafkaError.INVALID_REGULAR_EXPRESSION,
        KafkaError.STREAMS_INVALID_TOPOLOGY,
        KafkaError._INVALID_ARG,
        KafkaError._INVALID_TYPE,
        KafkaError._STATE,
        KafkaError._CONFLICT,
        KafkaError._EXISTING_SUBSCRIPTION,
        KafkaError._NOT_CONFIGURED,
        KafkaError._NOT_IMPLEMENTED,
        KafkaError._READ_ONLY,
        KafkaError._NOENT,
        KafkaError._APPLICATION,
        KafkaError._UNKNOWN_PROTOCOL,
        KafkaError._KEY_SERIALIZATION,
        KafkaError._KEY_DESERIALIZATION,
        KafkaError._VALUE_SERIALIZATION,
        KafkaError._VALUE_DESERIALIZATION,
    ),
    Remedy.NONE: (
        KafkaError.NO_ERROR,
        KafkaError._PARTITION_EOF,
        KafkaError._ASSIGN_PARTITIONS,
        KafkaError._REVOKE_PARTITIONS,
        KafkaError._NODE_UPDATE,
        KafkaError._NOOP,
    ),
}

FORBIDDEN: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
"""The brokers know the client, and it lacks a right."""

NO_LEADER: Final = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
    }
)
"""Said of a partition whose leader is about to come, or has just come: it is asked again."""

NO_COORDINATOR: Final = frozenset(
    {KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR}
)
"""Said of a group whose coordinator is about to come, or to go: it is asked again."""

FENCED: Final = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
"""Another client writes under the transactional id now."""

REMEDIES: Final[Mapping[int, Remedy]] = {code: remedy for remedy, codes in _ROWS.items() for code in codes}
"""{code: what helps}, of all codes that the client knows."""


_FIXES: Final[Mapping[Remedy, str]] = {
    Remedy.GRANT: "grant the worker the right to write to the topic",
    Remedy.REPAIR: "see that the topic exists (`stoker doctor`)",
    Remedy.WAIT: "see that the topic has a leader",
}
_LACK_FIX: Final = "see that this machine has threads and memory left for the process"


def remedy_of(error: KafkaError) -> Remedy:
    """The remedy for an error; one that the client calls fatal has ended the client, whatever its code."""
    return Remedy.NEW_CLIENT if error.fatal() else REMEDIES.get(error.code(), UNLISTED)


def with_fix(error: KafkaError) -> str:
    """The brokers' answer to a write, and the fix for it, where a person can do something."""
    fix = _LACK_FIX if error.code() == KafkaError._CRIT_SYS_RESOURCE else _FIXES.get(remedy_of(error))
    return error.str() if fix is None else f"{error.str()}; {fix}"


def codes_of(*remedies: Remedy) -> frozenset[int]:
    """The codes of all errors that one of these helps against."""
    return frozenset(code for remedy in remedies for code in _ROWS[remedy])


def needs_a_person(error: KafkaError) -> bool:
    """Whether waiting alone will not do, nor another form or client: a person must fix something first."""
    return remedy_of(error) not in (Remedy.WAIT, Remedy.NEW_CLIENT, Remedy.NONE)


def as_error(failure: BufferError | KafkaException) -> KafkaError:
    """Why a record could not even be queued."""
    error = failure.args[0] if isinstance(failure, KafkaException) else None
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._QUEUE_FULL)


def is_fatal(error: KafkaError | None) -> bool:
    """Whether the client that reported it cannot be used any more."""
    return error is not None and remedy_of(error) is Remedy.NEW_CLIENT


RECORD_FAULTS: Final = codes_of(Remedy.SHRINK, Remedy.ALONE) | {KafkaError.INVALID_MSG}
"""Errors of a transaction that stay as long as one certain record is in it."""
