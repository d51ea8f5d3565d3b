"""Turning an exception into a `Failure`: bounded in size, and with a fingerprint that groups like with like."""

from __future__ import annotations

import hashlib
import traceback
from typing import Final

from .outcomes import Failure

MESSAGE_LIMIT_BYTES: Final = 1_000
STACK_LIMIT_BYTES: Final = 4_000


def describe_failure(job_type: str, error: BaseException) -> Failure:
    """Say what failed, for headers and logs."""
    return make_failure(
        job_type,
        error_type=qualified_name(type(error)),
        message=safe_text(error),
        stack="".join(traceback.format_exception(error)),
        place=_innermost_place(error),
    )


def bounded_message(error: BaseException) -> str:
    """The error's message, as far as a header or event takes it."""
    return _first_bytes(safe_text(error), MESSAGE_LIMIT_BYTES)


def make_failure(job_type: str, *, error_type: str, message: str, stack: str = "", place: str = "") -> Failure:
    """Build a failure with its bounds kept; of the stack the innermost part stays, which names the error."""
    identity = "\0".join((job_type, error_type, place)).encode("utf-8", "backslashreplace")
    return Failure(
        error_type=error_type,
        message=_first_bytes(message, MESSAGE_LIMIT_BYTES),
        stack=_last_bytes(stack, STACK_LIMIT_BYTES),
        fingerprint=hashlib.blake2b(identity, digest_size=8).hexdigest(),
    )


def qualified_name(kind: type[BaseException]) -> str:
    """`ValueError` for builtins, `package.module.Name` for others."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def safe_text(error: BaseException) -> str:
    """The error's message, even where its `__str__` fails itself."""
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001  # a job's exception class may raise anything while it describes itself
        return f"(its message could not be read: {type(second).__name__})"


def _innermost_place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].name}:{frames[-1].lineno}" if frames else ""


def _first_bytes(text: str, limit: int) -> str:
    encoded = text.encode("utf-8", "backslashreplace")
    return encoded[:limit].decode("utf-8", "ignore")


def _last_bytes(text: str, limit: int) -> str:
    encoded = text.encode("utf-8", "backslashreplace")
    return encoded[-limit:].decode("utf-8", "ignore")
