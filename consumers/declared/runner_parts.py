"""`RunnerParts`: the parts that the runners of a queue are made of, whatever their kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..priorities.ready import PriorityReady, ReadyRecords
from ..runners.kinds import Runners
from ..settings import WorkerSettings
from ..steps.pipe import Pipe
from ..steps.steps import StepContext


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerParts:
    """The parts that runners are made of; all take their records through `pipe`, and `ready` are those of all kinds."""

    step_context: StepContext
    settings: WorkerSettings
    pipe: Pipe
    ready: ReadyRecords | None = None

    def make_ready(self) -> PriorityReady | None:
        """The ready records of one kind of runners; None where these come in the order in which they became ready."""
        return None if self.ready is None else self.ready.make()


MakeRunners = Callable[[RunnerParts], list[Runners[Any]]]
