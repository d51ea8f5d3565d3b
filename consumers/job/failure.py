"""Turns an exception into a `Failure`: bounded in size, and with a fingerprint that groups like with like."""

from __future__ import annotations

import hashlib
from typing import Final

from ..records.outcomes import Failure
from .job_errors import line_of, message_of, report_of, summary_of, type_name

MESSAGE_LIMIT_BYTES: Final = 1_000
STACK_LIMIT_BYTES: Final = 4_000


def describe_failure(job_type: str, error: BaseException) -> Failure:
    """Describe what failed, for headers and logs. Never raises, whatever the error's class does when it is read."""
    error_type = type_name(type(error))
    try:
        message, stack, line = summary_of(error), report_of(error), line_of(error)
    except BaseException as second:  # noqa: BLE001  # reading it has used up the job's time, or the process's memory
        message, stack, line = f"(it could not be described: {type_name(type(second))})", "", ""
    return make_failure(job_type, error_type=error_type, message=message, stack=stack, cause=line)


def reason_of(error: BaseException) -> str:
    """The error's message, as far as a header or event takes it. Never raises."""
    try:
        return _first_bytes(message_of(error), MESSAGE_LIMIT_BYTES)
    except BaseException as second:  # noqa: BLE001  # as above
        return f"(it could not be described: {type_name(type(second))})"


def make_failure(job_type: str, *, error_type: str, message: str, stack: str = "", cause: str = "") -> Failure:
    """Build a failure with its bounds kept; of the stack the innermost part stays, which names the error."""
    identity = "\0".join((job_type, error_type, cause)).encode("utf-8", "backslashreplace")
    return Failure(
        error_type=error_type,
        message=_first_bytes(message, MESSAGE_LIMIT_BYTES),
        stack=_last_bytes(stack, STACK_LIMIT_BYTES),
        fingerprint=hashlib.blake2b(identity, digest_size=8).hexdigest(),
    )


def _first_bytes(text: str, limit: int) -> str:
    encoded = text[:limit].encode("utf-8", "backslashreplace")
    return encoded[:limit].decode("utf-8", "ignore")


def _last_bytes(text: str, limit: int) -> str:
    encoded = text[-limit:].encode("utf-8", "backslashreplace")
    return encoded[-limit:].decode("utf-8", "ignore")
