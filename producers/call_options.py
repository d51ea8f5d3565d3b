"""Checks of a call's options beside its arguments: keys, ids, sources and headers that every reader can take."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ..topology.declaration.job_type import AnyJobType, JobCall
from ..topology.declaration.labels import LabelFunction, LabelNotFound
from ..topology.declaration.priorities import unknown_priority
from ..topology.wire import headers as wire
from .errors import OptionRefused

MAX_KEY_BYTES: Final = 1_024
MAX_TENANT_BYTES: Final = 256
MAX_ID_CHARS: Final = 256
MAX_COST: Final = 999_999_999
MAX_VALUE_CHARS: Final = 256
MAX_SOURCE_CHARS: Final = 256
MAX_HEADERS_BYTES: Final = 16 * 1024

_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_HEADER_NAME: Final = re.compile(r"[\x21-\x7e]{1,128}")


def check_key(job_type: str, key: str | None) -> bytes | None:
    """Return the ordering key as it goes on the wire.

    Raises:
        OptionRefused: it is no text, empty, or too long.
    """
    if key is None:
        return None
    if not isinstance(key, str):
        raise OptionRefused(job_type, "key", f"must be text or None, not {type(key).__name__}")
    return _sized(job_type, "key", key, MAX_KEY_BYTES, "None means no order")


def check_tenant(job_type: str, tenant: str | None) -> bytes | None:
    """Return the tenant as it goes on the wire.

    Raises:
        OptionRefused: it is no text, empty, too long, or has characters that do not print.
    """
    if tenant is None:
        return None
    if not isinstance(tenant, str):
        raise OptionRefused(job_type, "tenant", f"must be text or None, not {type(tenant).__name__}")
    if not tenant.isprintable():
        raise OptionRefused(job_type, "tenant", f"has characters that do not print: {tenant!r}; give another name")
    return _sized(job_type, "tenant", tenant, MAX_TENANT_BYTES, "None means no tenant")


def _sized(job_type: str, option: str, text: str, max_bytes: int, remedy: str) -> bytes:
    encoded = _utf8(job_type, option, text)
    if not 0 < len(encoded) <= max_bytes:
        raise OptionRefused(job_type, option, f"must have 1 to {max_bytes} bytes, not {len(encoded)}; {remedy}")
    return encoded


def check_id(job_type: str, option: str, value: str) -> bytes:
    """Return a job id or idempotency key as it goes on the wire.

    Raises:
        OptionRefused: it is not 1 to 256 visible ASCII characters.
    """
    if not isinstance(value, str) or len(value) > MAX_ID_CHARS or not _PRINTABLE.fullmatch(value):
        raise OptionRefused(job_type, option, f"must be 1 to {MAX_ID_CHARS} ASCII characters without blanks")
    return value.encode()


def check_priority(job_type: AnyJobType, priority: str | None) -> str:
    """Return the priority of a call: the one that it names, or else the job type's.

    Raises:
        OptionRefused: the queue declares no such priority, or the job type is unique and has another one.
    """
    if priority is None or priority == job_type.priority:
        return job_type.priority
    unknown = unknown_priority(priority, job_type.queue.priorities, job_type.queue.name)
    if unknown is not None:
        raise OptionRefused(job_type.name, "priority", unknown)
    if job_type.unique is not None:
        raise OptionRefused(
            job_type.name,
            "priority",
            f"is {priority!r}, and the job type is unique: all of its jobs have its own priority, "
            f"{job_type.priority!r}, so that they come in one order; give the job type this one, or leave it out",
        )
    return priority


def check_source(job_type: str, source: str) -> str:
    """Return the source if it can be a CloudEvents source.

    Raises:
        OptionRefused: it is not 1 to 256 visible ASCII characters.
    """
    if not isinstance(source, str) or len(source) > MAX_SOURCE_CHARS or not _PRINTABLE.fullmatch(source):
        reason = f"must be 1 to {MAX_SOURCE_CHARS} ASCII characters without blanks, such as /shop/checkout"
        raise OptionRefused(job_type, "source", reason)
    return source


def check_headers(job_type: str, headers: Mapping[str, str]) -> wire.HeaderList:
    """Return the caller's own headers as they go on the wire; values are written as UTF-8.

    Raises:
        OptionRefused: a name is reserved or not ASCII, a value is no text, or all together are too large.
    """
    pairs = [(_header_name(job_type, name), _header_value(job_type, name, value)) for name, value in headers.items()]
    size_bytes = sum(len(name) + len(value) for name, value in pairs)
    if size_bytes > MAX_HEADERS_BYTES:
        raise OptionRefused(
            job_type, "headers", f"have {size_bytes:,} bytes; the limit is {MAX_HEADERS_BYTES:,}; send less"
        )
    return pairs


def due_instant(job_type: str, delay: timedelta | None, at: datetime | None, now: datetime) -> datetime | None:
    """The instant before which a job must not start; None where it may start at once.

    Raises:
        OptionRefused: both are given, `at` has no time zone, or `delay` is negative or beyond the calendar.
    """
    if at is not None:
        if delay is not None:
            raise OptionRefused(job_type, "delay", f"and at ({at.isoformat()}) exclude each other: give one of them")
        return _instant(job_type, "at", at, "give an aware datetime, such as datetime.now(UTC) + ..., or use delay=")
    if delay is None:
        return None
    if not isinstance(delay, timedelta):
        raise OptionRefused(job_type, "delay", f"must be a timedelta, not {type(delay).__name__}; at= takes an instant")
    if delay < timedelta(0):
        raise OptionRefused(job_type, "delay", f"is negative: {delay}; leave it out to run the job at once")
    return _later(job_type, "delay", now, delay)


def expiry(job_type: str, expires: datetime | timedelta, earliest: datetime) -> datetime:
    """The instant after which a job must not start.

    Args:
        earliest: when the job may start, from which a length of time counts.

    Raises:
        OptionRefused: it has no time zone, or is past before the job may start.
    """
    if isinstance(expires, timedelta):
        instant = _later(job_type, "expires", earliest, expires)
    else:
        instant = _instant(job_type, "expires", expires, "give an aware datetime, or a timedelta")
    if instant <= earliest:
        reason = f"is past before the job may start: {instant.isoformat()}; the job would never run"
        raise OptionRefused(job_type, "expires", reason)
    return instant


def _instant(job_type: str, option: str, instant: datetime, remedy: str) -> datetime:
    if not isinstance(instant, datetime):
        raise OptionRefused(job_type, option, f"must be a datetime, not {type(instant).__name__}")
    if instant.tzinfo is None:
        raise OptionRefused(job_type, option, f"has no time zone: {remedy}")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise OptionRefused(job_type, option, f"lies outside of the calendar: {instant.isoformat()}") from None


def _later(job_type: str, option: str, now: datetime, length: timedelta) -> datetime:
    try:
        return now + length
    except OverflowError:
        raise OptionRefused(job_type, option, f"lies outside of the calendar: {length} from now") from None


def _header_name(job_type: str, name: str) -> str:
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise OptionRefused(job_type, f"header {name!r}", "must be named by 1 to 128 ASCII characters without blanks")
    if wire.is_reserved(name.lower()):
        raise OptionRefused(job_type, f"header {name!r}", "is a name that only Stoker may set; choose another")
    return name


def _header_value(job_type: str, name: str, value: str) -> bytes:
    if not isinstance(value, str):
        raise OptionRefused(job_type, f"header {name!r}", f"must have text as its value, not {type(value).__name__}")
    return _utf8(job_type, f"header {name!r}", value)


def _utf8(job_type: str, option: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as fault:
        raise OptionRefused(job_type, option, "is not text that UTF-8 can write") from fault


def limit_headers(call: JobCall) -> wire.HeaderList:
    """Make the headers of a call whose type has any.

    Raises:
        OptionRefused: a function raised, or returned what it must not.
    """
    job_type, found = call.job_type, list[tuple[str, bytes]]()
    if job_type.cost_label is not None:
        found.append((wire.COST, _cost(call, job_type.cost_label)))
    values = {name: _value(call, name, label) for name, label in job_type.limit_labels.items()}
    present = {name: value for name, value in values.items() if value is not None}
    if present:
        found.append((wire.LIMITED_BY, json.dumps(present, separators=(",", ":")).encode()))
    return found


def _cost(call: JobCall, label: LabelFunction) -> bytes:
    cost = _made(call, "cost", label)
    if not isinstance(cost, int) or isinstance(cost, bool) or not 1 <= cost <= MAX_COST:
        reason = f"must be a whole number from 1 to {MAX_COST:,}; it is {cost!r}"
        raise OptionRefused(call.job_type.name, "cost", reason)
    return b"%d" % cost


def _value(call: JobCall, name: str, label: LabelFunction) -> str | None:
    value = _made(call, f"by of limit {name}", label)
    if value is not None and (not isinstance(value, str) or len(value) > MAX_VALUE_CHARS):
        reason = f"must be text of at most {MAX_VALUE_CHARS} characters, or None; it is {value!r:.300}"
        raise OptionRefused(call.job_type.name, f"by of limit {name}", reason)
    return value


def _made(call: JobCall, option: str, label: LabelFunction) -> Any:
    try:
        return label.of(call.args, call.kwargs)
    except LabelNotFound as not_found:
        raise OptionRefused(call.job_type.name, option, not_found.reason) from not_found
