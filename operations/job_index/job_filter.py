"""`JobFilter`: which jobs of the index are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """A filter of jobs; an empty field lets all pass, several values of one mean any of them.

    Attributes:
        error: a class, with or without its module; `fingerprint` the first digits of one.
        words: of which the first message of a failure has all; one that ends with `*` stands for all that begin so.
        since, until: bounds of the time of enqueueing.
    """

    queues: Sequence[str] = ()
    types: Sequence[str] = ()
    states: Sequence[State] = ()
    tenant: str = ""
    key: str | None = None
    worker: str = ""
    release: str = ""
    error: str = ""
    fingerprint: str = ""
    words: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_of_failures(self) -> bool:
        """Whether it names a failure."""
        return bool(self.error or self.fingerprint)


def match_of(words: str) -> str:
    """Words as FTS5 takes them: quoted, so that no sign in them means anything, but for a `*` at the end of one.

    >>> match_of('card* declined "x')
    '"card"* "declined" "x"'
    """
    terms = [
        "".join(sign if sign.isalnum() else " " for sign in word) + "*" * word.endswith("*") for word in words.split()
    ]
    parts = [(part, term.endswith("*")) for term in terms for part in term.rstrip("*").split()]
    return " ".join(f'"{part}"' + "*" * is_prefix for part, is_prefix in parts) or '""'
