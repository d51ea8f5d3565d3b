"""`ActionFilter`: which actions are meant; all that is given must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from .actions import AuditedAction


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFilter:
    """The properties that an action must have; empty fields ask for nothing.

    Attributes:
        since, until: when it began or ended: at or after the one, before the other.
        by: an operator, a host, or both as `ann@web-1`.
        actions: kinds such as `order`, or actions such as `pause` and `dead-letters-replayed`.
        words: each of them stands somewhere in the action, in capitals or not.
    """

    since: datetime | None = None
    until: datetime | None = None
    by: str = ""
    actions: tuple[str, ...] = ()
    queue: str = ""
    job_type: str = ""
    job_id: str = ""
    words: tuple[str, ...] = ()

    def takes(self, action: AuditedAction) -> bool:
        """Whether the action is meant."""
        return (
            self._is_in_time(action) and self._is_of_kind(action) and self._is_about(action) and self._has_words(action)
        )

    def _is_of_kind(self, action: AuditedAction) -> bool:
        is_by = not self.by or self.by in (action.operator, action.host, action.by)
        return is_by and (
            not self.actions or not {action.kind, action.action, *action.action.split()}.isdisjoint(self.actions)
        )

    def _is_about(self, action: AuditedAction) -> bool:
        is_there = not self.queue or action.queue == self.queue
        is_typed = not self.job_type or self.job_type in action.job_types
        return is_there and is_typed and (not self.job_id or _is_about_job(action, self.job_id))

    def _is_in_time(self, action: AuditedAction) -> bool:
        last = action.ended_at or action.at
        return (self.since is None or last >= self.since) and (self.until is None or action.at < self.until)

    def _has_words(self, action: AuditedAction) -> bool:
        if not self.words:
            return True
        sides = (*action.before.items(), *action.after.items(), *action.detail.items())
        parts = [
            action.id,
            action.action,
            action.about,
            action.reason,
            action.by,
            action.command,
            *(" ".join(one) for one in sides),
        ]
        text = "\n".join(parts).lower()
        return all(word.lower() in text for word in self.words)


def _is_about_job(action: AuditedAction, job_id: str) -> bool:
    """Whether an action names the job: as its target, among its filters, or where its payload was corrected."""
    if action.job_id == job_id:
        return True
    return f'"{job_id}"' in action.detail.get("filters", "") or any(
        what == job_id or what.startswith(f"{job_id} ") for what in (*action.before, *action.after)
    )


def as_shown(
    actions: Iterable[AuditedAction], takes: Callable[[AuditedAction], bool] = lambda _action: True
) -> list[AuditedAction]:
    """Actions for people: the orders of one command, which may name a million jobs, are one.

    Args:
        actions: as `read_actions` gives them.
        takes: which are meant; each order is judged by itself, and all other actions by their last entry.
    """
    found: dict[tuple[str, datetime], AuditedAction] = {}
    for action in actions:
        begun = action.id, action.at
        if action.job_id is None:
            found[begun] = action
        elif takes(action):
            known = found.get(begun)
            found[begun] = action if known is None else replace(action, count=known.count + 1)
    return [action for action in found.values() if action.job_id is not None or takes(action)]
