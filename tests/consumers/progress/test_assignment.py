"""`Assignment`: each transition of its life, as the table in `AssignmentState` has it, and none besides."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from stoker.consumers.progress.assignment import Assignment, AssignmentState, ForbiddenTransition
from stoker.topology.wire.commit_metadata import CommitMetadata

RESTORING, OPENING, RUNNING, REPLACED, LEAVING, ENDED = AssignmentState
ROOT = Path(__file__).parents[3]


def _be_replaced(assignment: Assignment) -> None:
    _new().replace(assignment)


def _restore(assignment: Assignment) -> None:
    assignment.note_restored(CommitMetadata(committed_offset=0, position=0))


def _replace_another(assignment: Assignment) -> None:
    assignment.replace(_in_state(RUNNING))


TRANSITIONS: Final[dict[str, Callable[[Assignment], None]]] = {
    "note_restored": _restore,
    "note_running": Assignment.note_running,
    "replace": _replace_another,
    "being replaced": _be_replaced,
    "leave": Assignment.leave,
    "end": Assignment.end,
}
ALLOWED: Final = {
    (RESTORING, "note_restored"): OPENING,
    (OPENING, "note_running"): RUNNING,
    (RESTORING, "replace"): OPENING,
    **{(state, "being replaced"): REPLACED for state in (RESTORING, OPENING, RUNNING)},
    **{(state, "leave"): LEAVING for state in (RESTORING, OPENING, RUNNING, REPLACED, LEAVING)},
    **{(state, "end"): ENDED for state in (LEAVING, REPLACED)},
}
FORBIDDEN: Final = [(state, name) for state in AssignmentState for name in TRANSITIONS if (state, name) not in ALLOWED]
WAYS: Final = {
    RESTORING: (),
    OPENING: ("note_restored",),
    RUNNING: ("note_restored", "note_running"),
    REPLACED: ("being replaced",),
    LEAVING: ("leave",),
    ENDED: ("leave", "end"),
}
"""{state: transitions that lead there}."""


def _new() -> Assignment:
    return Assignment(1, "unit.q", 0)


def _in_state(state: AssignmentState) -> Assignment:
    assignment = _new()
    for name in WAYS[state]:
        TRANSITIONS[name](assignment)
    assert assignment.state is state
    return assignment


@pytest.mark.parametrize(("state", "name"), ALLOWED, ids=lambda value: getattr(value, "name", value))
def test_an_allowed_transition_leads_to_its_state(state: AssignmentState, name: str) -> None:
    """And the questions that each record asks are answered from it."""
    assignment = _in_state(state)
    TRANSITIONS[name](assignment)
    to = ALLOWED[state, name]
    assert assignment.state is to
    assert assignment.is_current == (to in (OPENING, RUNNING))
    assert assignment.is_active == (to is not ENDED)
    assert assignment.is_running == (to is RUNNING)


@pytest.mark.parametrize(("state", "name"), FORBIDDEN, ids=lambda value: getattr(value, "name", value))
def test_a_forbidden_transition_fails_and_changes_nothing(state: AssignmentState, name: str) -> None:
    """A partition whose life is not what the worker takes it for could be committed by two owners."""
    assignment = _in_state(state)
    with pytest.raises(ForbiddenTransition, match=r"unit\.q/0: its assignment cannot become"):
        TRANSITIONS[name](assignment)
    assert assignment.state is state


def test_the_table_is_the_one_in_the_documentation() -> None:
    """The docstring of the class is where a reader looks the life of a partition up."""
    rows = re.findall(r"\| ([A-Z, ]+?) +\| `?([a-z_ ]+?)`? +\| ([A-Z]+) +\|", AssignmentState.__doc__ or "")
    told = {
        (AssignmentState[state], name): AssignmentState[to] for states, name, to in rows for state in states.split(", ")
    }
    assert told == ALLOWED


def test_an_assignment_ends_with_all_that_it_has_replaced() -> None:
    """Their results are settled in full as long as the partition is ours, and as late from then on."""
    first, second, third = _in_state(RUNNING), _new(), _new()
    second.replace(first)
    third.replace(second)
    assert [a.is_active for a in (first, second, third)] == [True, True, True]
    third.leave()
    assert [a.state for a in (first, second, third)] == [LEAVING, LEAVING, LEAVING]
    third.end()
    assert [a.state for a in (first, second, third)] == [ENDED, ENDED, ENDED]


def test_an_assignment_counts_what_is_in_flight_of_all_that_it_has_replaced() -> None:
    """These jobs end with it, so its partition waits for them too."""
    first, second, third = _in_state(RUNNING), _new(), _new()
    second.replace(first)
    third.replace(second)
    first.in_flight, third.in_flight = 2, 1
    assert [a.unsettled for a in (first, second, third)] == [2, 2, 3]


def test_no_other_module_writes_the_life_of_an_assignment() -> None:
    """The predicates are attributes, since each record asks them; only the transitions may change them."""
    wrong = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "consumers").rglob("*.py")
        if path.stem != "assignment"
        and re.search(r"assignment\w*\.(state|is_current|is_active) = ", path.read_text("utf-8"))
    ]
    assert not wrong
