"""`JobFilter`: which jobs of the index are asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from unicodedata import combining, normalize

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
    return " ".join(f'"{part}"' + "*" * is_prefix for part, is_prefix in _terms(words)) or '""'


def has_words(message: str, words: str) -> bool:
    """Whether a message has all words, as FTS5 finds them: without case and accents.

    >>> has_words("Card-holder: crédit refused", "CREDIT card*"), has_words("discarded", "card*")
    (True, False)
    """
    found, terms = _plain(message), _terms(words)
    return bool(terms) and all(
        any(has.startswith(part) for has in found) if is_prefix else part in found for part, is_prefix in terms
    )


@lru_cache(maxsize=100)
def _terms(words: str) -> Sequence[tuple[str, bool]]:
    """The words by themselves, each with whether it stands for all that begin so."""
    return [
        (part, word.endswith("*") and at == len(parts))
        for word in words.split()
        for parts in [_plain(word)]
        for at, part in enumerate(parts, start=1)
    ]


def _plain(text: str) -> list[str]:
    """The words of a text, in lower case and without accents."""
    if not text.isascii():
        text = normalize("NFC", "".join(sign for sign in normalize("NFD", text) if not combining(sign)))
    return _WORD.findall(text.lower())


_WORD: Final = re.compile(r"[^\W_]+")
