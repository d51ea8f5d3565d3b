"""The schedules that the application declares: what `stoker topology` plans for them, applies and prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..cli.app import AppContext, command_path
from ..cli.output import echo_line

if TYPE_CHECKING:
    from ...producers.schedules import ScheduleChanges
    from ...topology import Plan


def plan_schedules(app: AppContext, planned: Plan) -> ScheduleChanges:
    """Plan the changes of schedules; where their topic is not there yet, all of them are to be added."""
    from ...producers.schedules import ScheduleChanges, Schedules
    from ...topology.planning.findings import CreateTopic

    created = {step.spec.name for step in planned.steps if isinstance(step, CreateTopic)}
    if app.pipeline.schedules_topic in created:
        return ScheduleChanges(added=tuple(sorted(app.pipeline.schedules)))
    with Schedules(app.pipeline, app.cluster) as schedules:
        return schedules.plan_declared()


def apply_schedules(app: AppContext) -> ScheduleChanges:
    """Make the cluster's schedules the declared ones."""
    from ...producers.schedules import Schedules

    with Schedules(app.pipeline, app.cluster, command=command_path()) as schedules:
        return schedules.apply_declared()


def print_planned(changes: ScheduleChanges) -> None:
    """Print what apply would do to schedules; nothing where that is nothing."""
    _print(changes, {"added": "to add", "changed": "to change", "removed": "to remove"})


def print_applied(changes: ScheduleChanges) -> None:
    """Print what was done to schedules; nothing where that is nothing."""
    _print(changes, {"added": "added", "changed": "changed", "removed": "removed"})


def _print(changes: ScheduleChanges, words: dict[str, str]) -> None:
    for field, word in words.items():
        for name in getattr(changes, field):
            echo_line(f"schedule {name} {word}" if word.startswith("to ") else f"{word} schedule {name}")
    for name in changes.left_alone:
        echo_line(
            f"schedule {name} is left alone: it was made at run time; `stoker schedules remove {name}` removes it"
        )


def changes_document(changes: ScheduleChanges) -> dict[str, object]:
    """The changes for programs."""
    return {
        "added": changes.added,
        "changed": changes.changed,
        "removed": changes.removed,
        "left_alone": changes.left_alone,
    }
