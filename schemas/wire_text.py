"""Text from the wire on its way into logs, messages, events and headers: always text, and never long."""

from __future__ import annotations

from typing import Final

LONGEST_SHOWN: Final = 256
"""Characters; our own producers make no id, type or key of more."""
LONGEST_DETAIL: Final = 1_000


def wire_text(value: bytes | str | None, longest: int = LONGEST_SHOWN) -> str:
    """The text for a header, key, name or message from the wire: its beginning, where it is longer; "" for None.

    Publishers in other languages may send an id of a megabyte, or bytes that are no text, and a worker meets them again
    with each retry: whatever it writes of them goes through here.

    >>> wire_text(b"caf\\xe9"), wire_text("x" * 90_000, 3)
    ('caf\\\\xe9', 'xxx… (90,000 long)')
    """
    if value is None:
        return ""
    text = value[: 4 * longest].decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return text if len(text) <= longest else f"{text[:longest]}… ({len(value):,} long)"


def writable_text(text: str) -> str:
    """The text, with an escape for each byte of an argument or a file name that is no UTF-8.

    >>> writable_text("caf\\udce9")
    'caf\\\\udce9'
    """
    return text.encode("utf-8", "backslashreplace").decode()
