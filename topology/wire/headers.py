"""The record headers of the wire contract, each listed once.

CloudEvents 1.0 in Kafka's binary mode, W3C trace context, and Stoker's own. All values are ASCII except those of
`UTF_8` and `stoker-order`, which is Avro. Instants are RFC 3339 in UTC, such as `2013-01-01T05:17:00.250000Z`; numbers
are decimal text. Unknown headers travel along untouched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from ...schemas.wire_text import wire_text

HeaderList = list[tuple[str, bytes]]
HeaderMap = dict[str, bytes]

SPEC_VERSION: Final = "ce_specversion"
JOB_ID: Final = "ce_id"
JOB_TYPE: Final = "ce_type"
SOURCE: Final = "ce_source"
TIME: Final = "ce_time"
CONTENT_TYPE: Final = "content-type"

TRACE_PARENT: Final = "traceparent"
TRACE_STATE: Final = "tracestate"
BAGGAGE: Final = "baggage"
"""W3C baggage of the caller, where its producer was asked to send it."""

ATTEMPT: Final = "stoker-attempt"
"""The number of the run to come, 1 for the first; absent means 1."""
DUE: Final = "stoker-due"
"""The job must not start before this instant."""
EXPIRES: Final = "stoker-expires"
"""The job must not start after this instant."""
IDEMPOTENCY_KEY: Final = "stoker-idempotency-key"
TENANT: Final = "stoker-tenant"
"""The tenant for which the job runs; absent without one."""
PRIORITY: Final = "stoker-priority"
"""The job's priority; absent where it is the normal one."""
UNIQUE: Final = "stoker-unique"
"""The identity of a job whose type is unique: the job type and what makes it unique."""
COST: Final = "stoker-cost"
"""The cost of the job in rates; absent where its type declares a number, or nothing."""
LIMITED_BY: Final = "stoker-limited-by"
"""JSON: {name of a limit: the text that its function has made of the arguments}; absent where none has."""
ARRIVED: Final = "stoker-arrived"
"""On a unique job that waits elsewhere than on its main topic: when that took it, by the brokers' clock."""
PUT_OFF_SINCE: Final = "stoker-put-off-since"
"""On the same: when the first job came that this one puts off."""
REPLAY: Final = "stoker-replay"
"""Id of the replay that published this record again; it passes the ledger under its own name."""

ORIGIN: Final = "stoker-origin"
"""`topic/partition/offset` of the record as it was first enqueued."""
CARRIED: Final = "stoker-carried"
"""On a carried topic only: `topic/partition/offset` of the record that this one was copied from."""
FIRST_FAILED: Final = "stoker-first-failed"
"""When a run of the job failed for the first time, or the job died without one."""
DEFERRED_SINCE: Final = "stoker-deferred-since"
"""When the job was deferred for the first time since its last run; absent where it is not deferred."""
ERROR_TYPE: Final = "stoker-error-type"
ERROR_MESSAGE: Final = "stoker-error-message"
ERROR_STACK: Final = "stoker-error-stack"
ERROR_FINGERPRINT: Final = "stoker-error-fingerprint"
"""16 hex digits: equal for failures of the same job type with the same error type at the same line."""
FIRST_ERROR_TYPE: Final = "stoker-first-error-type"
"""The class of a job's first error; absent while it has failed once at the most."""
FIRST_ERROR_MESSAGE: Final = "stoker-first-error-message"
REASON: Final = "stoker-reason"
"""Why the record is on this topic: `failed`, `snoozed`, `delayed`, a reason for deferring, or one for dying."""
WORKER: Final = "stoker-worker"
CRASHES: Final = "stoker-crashes"
"""On a dead letter: how often the job has crashed; absent means never."""
OWNER: Final = "stoker-owner"
"""On a dead letter: the owner of its job type, as declared; absent where none is."""
RUNBOOK: Final = "stoker-runbook"
"""On the same: what to do about it, an URL or a line of text."""
TRUNCATED_FROM: Final = "stoker-truncated-from"
"""On a dead letter that holds a part of its record only: `topic/partition/offset` of that record."""
TRUNCATED_SIZE: Final = "stoker-truncated-size"
"""On the same: how many bytes the record's value has."""
TRUNCATED_DIGEST: Final = "stoker-truncated-digest"
"""On the same: the SHA-256 of the record's value, 64 hex digits."""
DISPOSITION: Final = "stoker-disposition"
"""On a dead-letter topic only: `replayed` or `discarded`; the record settles the dead letter at `stoker-settles`."""
SETTLES: Final = "stoker-settles"
"""On a disposition: the offset, in the same partition, of the dead letter that it settles."""
OPERATOR: Final = "stoker-operator"
"""On a disposition: who settled the dead letter, `user@host`."""
OPERATOR_REASON: Final = "stoker-operator-reason"
"""On a disposition: the reason that the operator gave."""

SCHEDULE: Final = "stoker-schedule"
"""Name of the schedule that has enqueued the job."""
SCHEDULED_FOR: Final = "stoker-scheduled-for"
"""The instant for which the schedule has enqueued the job."""

ORDER: Final = "stoker-order"
"""On the control topic's records without a value: the `ControlOrder` that lifts what stood under the key."""
ORDER_OFFSET: Final = "stoker-order-offset"
"""On the audit topic: the order's offset on the control topic."""
COMMAND: Final = "stoker-command"
"""On the audit topic, of an order: the command or program from which it was given, without arguments."""
VERSION: Final = "stoker-version"
"""On the audit topic, of an order: the version of Stoker that has given it."""

UTF_8: Final = frozenset(
    {
        TENANT,
        UNIQUE,
        ERROR_TYPE,
        ERROR_MESSAGE,
        ERROR_STACK,
        FIRST_ERROR_TYPE,
        FIRST_ERROR_MESSAGE,
        WORKER,
        OWNER,
        RUNBOOK,
        OPERATOR_REASON,
        COMMAND,
    }
)
"""The headers whose values may have other characters than those of ASCII."""

CONTENT_TYPE_AVRO: Final = b"application/avro"
SPEC_VERSION_1_0: Final = b"1.0"

RETRY_HEADERS: Final = frozenset(
    {
        ATTEMPT,
        DUE,
        ORIGIN,
        CARRIED,
        ARRIVED,
        PUT_OFF_SINCE,
        FIRST_FAILED,
        DEFERRED_SINCE,
        ERROR_TYPE,
        ERROR_MESSAGE,
        ERROR_STACK,
        ERROR_FINGERPRINT,
        FIRST_ERROR_TYPE,
        FIRST_ERROR_MESSAGE,
        REASON,
        WORKER,
        CRASHES,
        OWNER,
        RUNBOOK,
        TRUNCATED_FROM,
        TRUNCATED_SIZE,
        TRUNCATED_DIGEST,
    }
)
"""The headers that a retry or dead letter adds; each replaces them all, so headers never grow with the attempts."""
RESERVED_PREFIXES: Final = ("ce_", "stoker-")
RESERVED_NAMES: Final = frozenset({CONTENT_TYPE, TRACE_PARENT, TRACE_STATE})


_RFC_3339: Final = re.compile(
    rb"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):\d\d:(?P<second>\d\d)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
)
_SECOND: Final = timedelta(seconds=1)
LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999: a `datetime` has nothing later, and the timestamp of a record may be."""


def is_reserved(name: str) -> bool:
    """Say whether only Stoker may set the header."""
    return name in RESERVED_NAMES or name.startswith(RESERVED_PREFIXES)


def header_map(pairs: Iterable[tuple[str, bytes | str | None]] | None) -> HeaderMap:
    """Index a record's headers by name; of a repeated name the last one counts, as in Kafka's own clients."""
    if not pairs:
        return {}
    return {name: value if value.__class__ is bytes else _as_bytes(value) for name, value in pairs}


def _as_bytes(value: bytes | str | None) -> bytes:
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else value


def priority_of(headers: Mapping[str, bytes]) -> str | None:
    """The priority that a record names; None where it names none, or one that no queue can declare."""
    value = headers.get(PRIORITY)
    return value.decode() if value and value.isascii() else None


def replace_headers(
    pairs: Sequence[tuple[str, bytes]], *, drop: frozenset[str], add: Iterable[tuple[str, bytes]]
) -> HeaderList:
    """Copy headers without those named in `drop`, then append `add`; the rest keeps its order."""
    return [pair for pair in pairs if pair[0] not in drop] + list(add)


def actor_headers(command: str, version: str) -> HeaderList:
    """The headers of an audit record that hold from where an order was given, as far as that is known."""
    known = {COMMAND: command, VERSION: version}
    return [(name, value.encode()) for name, value in known.items() if value]


def format_instant(instant: datetime) -> bytes:
    """Write an aware datetime as the wire's RFC 3339 text, always in UTC with microseconds.

    >>> format_instant(datetime(1, 1, 1, tzinfo=UTC))
    b'0001-01-01T00:00:00.000000Z'
    """
    # Not by `strftime`: the C library writes the years before 1000 with fewer than four digits.
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds").encode() + b"Z"


def parse_instant(value: bytes) -> datetime:
    """Read the wire's RFC 3339 text: `T` or a blank, in either case, an offset or `Z`, any number of fraction digits.

    Digits beyond the microseconds are cut off. A leap second is the first second of the next minute, since Python has
    none.

    Raises:
        ValueError: it is not such an instant, or it lies outside of the years 1 to 9999 in UTC.
    """
    found = _RFC_3339.fullmatch(value)
    if found is None:
        raise ValueError(f"{wire_text(value)!r} is no instant of RFC 3339: write it like 2013-01-01T05:17:00Z")
    text = value.decode("ascii").upper()
    is_leap = found["second"] == b"60"
    if is_leap:
        text = f"{text[:17]}59{text[19:]}"
    try:
        instant = datetime.fromisoformat(text).astimezone(UTC)
        return instant + _SECOND if is_leap else instant
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{wire_text(value)!r} is no instant of the calendar: {error}") from None
