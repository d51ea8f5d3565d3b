"""`FirstCommits`: which assignments wait for the answer to their first commit; until then none of their jobs starts."""

from __future__ import annotations

from collections.abc import Iterable

from ..progress.assignment import Assignment
from .commit_pace import CommitPace


class FirstCommits:
    """The first commit of each assignment, which marks it as owned; owned by the poll thread."""

    def __init__(self, pace: CommitPace) -> None:
        self._pace = pace
        self._opening: set[Assignment] = set()
        self._opened: list[Assignment] = []

    def open(self, restored: Iterable[Assignment]) -> None:
        """Commit that restored assignments have an owner; `take_opened` returns those whose commit was answered."""
        self._opening.update(restored)
        self._pace.hasten()

    @property
    def is_opening(self) -> bool:
        """Whether an answer is awaited before jobs can start."""
        return bool(self._opening)

    def note_taken(self, assignment: Assignment) -> None:
        """Note that the brokers have taken a commit of an assignment, its first one or a later one."""
        if assignment in self._opening:
            self._opening.discard(assignment)
            self._opened.append(assignment)

    def take_opened(self) -> list[Assignment]:
        """The assignments whose first commit was answered since the last call; their jobs may start."""
        opened, self._opened = [a for a in self._opened if a.is_current], []
        return opened

    def forget(self, ended: Iterable[Assignment]) -> None:
        """Wait no more for the answers to these."""
        self._opening.difference_update(ended)
