"""Errors of making and changing schedules; `except ScheduleError` catches all but a cluster's silence.

    ScheduleError
    ├── ScheduleRefused       a value cannot be: fix the call; nothing was changed
    ├── ScheduleExists        there is one of that name already; nothing was changed
    ├── NoSuchSchedule        there is none of that name; nothing was changed
    ├── SchedulesNotReady     the topic of schedules is missing: apply the topology; nothing was changed
    └── ScheduleUnconfirmed   the brokers did not confirm the change: perhaps changed

`ClusterUnreachable` and `NotAuthorized` are those of `stoker.topology`; arguments are refused by an `EnqueueError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ScheduleError(Exception):
    """Root of everything that `Schedules` raises on purpose."""


class ScheduleRefused(ScheduleError):
    """A value cannot be; nothing was changed."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"schedule {name!r} is refused: {reason}; nothing was changed")
        self.name, self.reason = name, reason


class ScheduleExists(ScheduleError):
    """There is a schedule of that name already; nothing was changed."""

    def __init__(self, name: str, remedy: str) -> None:
        super().__init__(f"there is a schedule {name!r} already: {remedy}; nothing was changed")
        self.name = name


class NoSuchSchedule(ScheduleError):
    """There is no schedule of that name; nothing was changed."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"there are {len(names)}; `stoker schedules list` shows them"
        )
        super().__init__(f"there is no schedule {name!r}; {hint}")
        self.name = name


class SchedulesNotReady(ScheduleError):
    """The topic of schedules, or another that they need, is missing; nothing was changed."""

    def __init__(self, topics: Iterable[str]) -> None:
        self.topics = tuple(topics)
        super().__init__(f"the cluster has no topic {', '.join(self.topics)}: run `stoker topology apply`")


class ScheduleUnconfirmed(ScheduleError):
    """The brokers did not confirm the change.

    Attributes:
        is_perhaps_changed: whether it may stand all the same.
    """

    def __init__(self, cause: str, *, is_perhaps_changed: bool) -> None:
        self.is_perhaps_changed = is_perhaps_changed
        outcome = (
            "it may stand all the same (`stoker schedules list` shows it)"
            if is_perhaps_changed
            else "nothing was changed"
        )
        super().__init__(f"the brokers did not confirm the change ({cause}): {outcome}; make it again")
