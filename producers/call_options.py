"""What a call may carry beside its arguments: keys, ids, sources and headers that every reader can take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ..topology.wire import headers as wire
from .errors import OptionRefused

MAX_KEY_BYTES: Final = 1_024
MAX_TENANT_BYTES: Final = 256
MAX_ID_CHARS: Final = 256
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
