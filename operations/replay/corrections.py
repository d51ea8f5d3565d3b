"""The changes of a payload by a replay with corrections: each field with its value before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ...schemas.json_data import Json

ABSENT: Final = "(absent)"
_LONGEST_VALUE: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field.

    Attributes:
        path: dots lead into nested fields; empty for the payload as a whole.
        before, after: JSON values; None also where the field was or is absent: `was_absent`, `is_absent`.
    """

    path: str
    before: Json = None
    after: Json = None
    was_absent: bool = False
    is_absent: bool = False

    def __str__(self) -> str:
        return f"{self.path or 'payload'}: {self.side(is_after=False)} → {self.side(is_after=True)}"

    def side(self, *, is_after: bool) -> str:
        """The value before or after, cut to a line."""
        if self.is_absent if is_after else self.was_absent:
            return ABSENT
        return _shown(self.after if is_after else self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """The changes in the payload of one dead letter; no fields means that the payload was so already."""

    ref: str
    job_id: str
    fields: tuple[FieldChange, ...]


def changed_fields(before: Json, after: Json, path: str = "") -> Iterator[FieldChange]:
    """Compare two payloads; lists are compared as a whole.

    >>> [str(change) for change in changed_fields({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})]
    ['b.c: 2 → 3']
    """
    if not isinstance(before, dict) or not isinstance(after, dict):
        if before != after or type(before) is not type(after):
            yield FieldChange(path=path, before=before, after=after)
        return
    for name in before | after:
        inner = f"{path}.{name}" if path else name
        if name in before and name in after:
            yield from changed_fields(before[name], after[name], inner)
        elif name in before:
            yield FieldChange(path=inner, before=before[name], is_absent=True)
        else:
            yield FieldChange(path=inner, after=after[name], was_absent=True)


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
