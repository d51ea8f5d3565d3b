"""Reads what jobs raise without trusting it: the classes are users' own, and any method of theirs may raise or hang.

Types are matched by their real bases, as `except` does. Text is read by calls that keep what they raise, and is cut
where it is read. The one exception that comes out of here is `TimeLimitExceeded`, by which the watchdog ends a run that
is past its time, also while its error is being read.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Final

from .endings import TimeLimitExceeded

TEXT_LIMIT: Final = 1_000
"""Characters of one message or note; as many bytes of ASCII as a header takes of a message."""
NAME_LIMIT: Final = 200
MOST_FRAMES: Final = 40
MOST_INCLUDED: Final = 12
"""Exceptions of one report: an error, its causes, and the members of groups."""
MOST_NOTES: Final = 10
MOST_SUMMED_UP: Final = 3

_OF_ERROR: Final = vars(BaseException)
_traceback_of: Callable[[BaseException], TracebackType | None] = _OF_ERROR["__traceback__"].__get__
_cause_of: Callable[[BaseException], BaseException | None] = _OF_ERROR["__cause__"].__get__
_context_of: Callable[[BaseException], BaseException | None] = _OF_ERROR["__context__"].__get__
_hides_context: Callable[[BaseException], bool] = _OF_ERROR["__suppress_context__"].__get__
_members_of: Callable[[BaseException], tuple[BaseException, ...]] = vars(BaseExceptionGroup)["exceptions"].__get__
_module_of: Callable[[type], Any] = vars(type)["__module__"].__get__
_qualname_of: Callable[[type], str] = vars(type)["__qualname__"].__get__
bases_of: Callable[[type], tuple[type, ...]] = vars(type)["__mro__"].__get__
"""The class itself and those it derives from, without asking a metaclass."""
names_in: Callable[[type], Mapping[str, object]] = vars(type)["__dict__"].__get__
"""The attributes of a class itself, read without asking a metaclass."""


def is_kind_of(value: object, kinds: type | Iterable[type]) -> bool:
    """Whether a value's real type is one of these or derives from one; neither `__class__` nor a metaclass is asked."""
    real = type(value)
    if isinstance(kinds, type):
        return type.__subclasscheck__(kinds, real)
    return any(type.__subclasscheck__(kind, real) for kind in kinds)


def leaves(error: BaseException) -> list[BaseException]:
    """The errors that a group holds, at any depth and each once; of what is no group, itself."""
    found, known, left = [], {id(error)}, [error]
    while left:
        here = left.pop()
        if not is_kind_of(here, BaseExceptionGroup):
            found.append(here)
            continue
        members = [member for member in _members_of(here) if id(member) not in known]
        known.update(map(id, members))
        left += reversed(members)
    return found


def type_name(kind: type) -> str:
    """`ValueError` for builtins, `package.module.Name` for others."""
    name = _cut(_qualname_of(kind), NAME_LIMIT)
    try:
        module = _cut(_module_of(kind), NAME_LIMIT)
    except (AttributeError, TypeError):  # it was deleted, or is no text
        return name
    return name if module == "builtins" else f"{module}.{name}"


def message_of(error: BaseException) -> str:
    """The error's message, or why it could not be read."""
    return _read(partial(str, error), "message")


def summary_of(error: BaseException) -> str:
    """The error's message, and of a group those of its first members, which are what one looks for."""
    if not is_kind_of(error, BaseExceptionGroup):
        return message_of(error)
    found = leaves(error)
    lines = [_last_line(member) for member in found[:MOST_SUMMED_UP]]
    more = [f"and {len(found) - MOST_SUMMED_UP:,} more"] if len(found) > MOST_SUMMED_UP else []
    return f"{message_of(error)}: {'; '.join([*lines, *more])}"


def line_of(error: BaseException) -> str:
    """`file:function:line` of the innermost frame; empty where it was never raised."""
    found = _traceback_of(error)
    if found is None:
        return ""
    while found.tb_next is not None:
        found = found.tb_next
    code = found.tb_frame.f_code
    return f"{code.co_filename.rpartition('/')[2]}:{code.co_name}:{found.tb_lineno}"


def report_of(error: BaseException) -> str:
    """The error as a traceback shows it, with causes, notes and members, as far as anybody would read them."""
    return _Report().chain(error)


@dataclass(slots=True)
class _Report:
    """One report; `included` are the exceptions that are in it, so that a cycle of causes comes to an end."""

    included: set[int] = field(default_factory=set)

    def chain(self, error: BaseException) -> str:
        """The error behind what caused it."""
        parts = [self._block(error)]
        while (link := _link(error)) is not None and self._has_room_for(link[0]):
            error, joint = link
            parts += [joint, self._block(error)]
        return "".join(reversed(parts))

    def _has_room_for(self, error: BaseException) -> bool:
        return id(error) not in self.included and len(self.included) < MOST_INCLUDED

    def _block(self, error: BaseException) -> str:
        self.included.add(id(error))
        lines = [_last_line(error), *_notes(error)]
        members = self._members(error) if is_kind_of(error, BaseExceptionGroup) else ""
        return _frames(error) + "\n".join(lines) + "\n" + members

    def _members(self, group: BaseException) -> str:
        members = _members_of(group)
        parts = []
        for number, member in enumerate(members, 1):
            if len(self.included) >= MOST_INCLUDED:
                parts.append(f"--- and {len(members) - number + 1:,} more\n")
                break
            if id(member) not in self.included:
                parts.append(f"--- {number} of {len(members):,}:\n{self.chain(member)}")
        return "".join(parts)


def _link(error: BaseException) -> tuple[BaseException, str] | None:
    cause = _cause_of(error)
    if cause is not None:
        return cause, "\nThe above exception was the direct cause of the following exception:\n\n"
    context = _context_of(error)
    if context is None or _hides_context(error):
        return None
    return context, "\nDuring handling of the above exception, another exception occurred:\n\n"


def _last_line(error: BaseException) -> str:
    name, message = type_name(type(error)), message_of(error)
    return f"{name}: {message}" if message else name


def _frames(error: BaseException) -> str:
    found = _traceback_of(error)
    if found is None:
        return ""
    # With the source, which a loader of the application's own may have to give.
    return "Traceback (most recent call last):\n" + _read(partial(_format, found), "stack", None)


def _format(found: TracebackType) -> str:
    return "".join(traceback.StackSummary.extract(traceback.walk_tb(found), limit=-MOST_FRAMES).format())


def _notes(error: BaseException) -> list[str]:
    """Without `__getattr__`, which may make up anything."""
    try:
        notes = object.__getattribute__(error, "__notes__")
        if type(notes) not in (list, tuple):
            return []
        return [_read(partial(str, note), "note") for note in notes[:MOST_NOTES]]
    except TimeLimitExceeded:
        raise
    except BaseException:  # noqa: BLE001  # there are none, or a property of that name raises
        return []


def _read(describe: Callable[[], str], what: str, limit: int | None = TEXT_LIMIT) -> str:
    """Call what runs the application's code, and keep what it raises."""
    try:
        return _cut(describe(), limit)
    except TimeLimitExceeded:
        raise
    except BaseException as second:  # noqa: BLE001  # a job's exception class may raise anything while it describes itself
        return f"(its {what} could not be read: {type_name(type(second))})"


def _cut(text: str, limit: int | None) -> str:
    """The begin of a text, as plain `str`: a class derived from it may do anything when it is asked."""
    return str.__getitem__(text, slice(limit))
