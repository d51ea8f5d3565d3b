"""What may be done to a world: values, so that hypothesis can choose, repeat, shrink and print them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from simulation.clients import Fate

Move = Literal[
    "turn", "assign", "start", "settle", "restore", "note_settled", "fetch", "begin_restored", "commit", "take_due",
    "fetch_delayed", "reread", "wait", "take", "answer", "learn", "gate", "settle_done",
    "done", "fail", "permanent", "discard", "snooze", "ask",
]  # fmt: skip
MOVES: Final[list[Move]] = [
    "turn", "turn", "turn", "turn", "start", "start", "start", "start", "start", "start", "start", "done", "done",
    "done", "done", "fail", "fail", "fail", "settle", "settle", "settle", "settle", "wait", "wait", "assign", "restore",
    "note_settled", "fetch", "begin_restored", "commit", "take_due", "fetch_delayed", "reread", "permanent", "discard",
    "snooze", "ask", "take", "take", "answer", "restore", "learn", "gate", "gate", "settle_done",
]  # fmt: skip
"""What a process does, each as often as it should be chosen; the last ones are the ends of a run."""
What = Literal[
    "join", "kill", "kill_and_expire", "expire", "notice", "answer_commit", "leave_gap", "remove_complete", "cut_tail",
    "rewind", "go_back", "change_registry", "hold_reads", "compact_progress", "spill", "damage_progress", "carry",
]  # fmt: skip
TROUBLES: Final[list[What]] = [
    "join", "join", "kill", "kill_and_expire", "expire", "notice", "answer_commit", "answer_commit", "leave_gap",
    "remove_complete", "cut_tail", "rewind", "go_back", "change_registry", "hold_reads", "hold_reads",
    "compact_progress", "compact_progress", "spill", "spill", "damage_progress", "carry", "carry",
]  # fmt: skip
Special = Literal["", "later", "never", "again"]
Grace = Literal["end", "settle", "note", "refuse"]
SPECIALS: Final[list[Special]] = ["", "", "later", "never", "again"]
GRACES: Final[list[Grace]] = ["end", "settle", "note", "refuse"]
COMMIT_FATES: Final[list[Fate]] = ["done", "done", "done", "refused", "unanswered"]
WRITE_FATES: Final[list[Fate]] = [*COMMIT_FATES, "killed"]
CHOICES: Final = 12
Step = tuple[int, Move, int]
"""Which process does what, and with which of several things."""


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Jobs are acknowledged; one may be delayed, or expire before it is due, or be published once more."""

    choices: list[int]
    special: Special


@dataclass(frozen=True, slots=True)
class Work:
    """Processes do things: the poll thread, the runners and the settling thread of each by turns."""

    steps: list[Step]


@dataclass(frozen=True, slots=True)
class WorkAlone:
    """One process does things."""

    process: int
    moves: list[Move]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A process comes or goes, or is given up though it lives; commits get lost; offsets vanish or are moved."""

    what: What
    choice: int
    fate: Fate


@dataclass(frozen=True, slots=True)
class Write:
    """A process settles what has ended; while it waits for the brokers, others move, and not all may be written."""

    process: int
    fates: list[Fate]
    meanwhile: Step


@dataclass(frozen=True, slots=True)
class Revoke:
    """A partition is taken away in order; within the grace some of its jobs end, perhaps not all."""

    partition: int
    grace: list[Grace]
    fate: Fate


Command = Enqueue | Work | WorkAlone | Trouble | Write | Revoke


def choose_step(chance: Random) -> Step:
    """Some step."""
    return chance.randrange(CHOICES), chance.choice(MOVES), chance.randrange(CHOICES)


def choose_command(chance: Random) -> Command:
    """Some command, most often one that lets work be done."""
    choice = chance.randrange(CHOICES)
    match chance.choice(["enqueue", "work", "work", "alone", "alone", "alone", "trouble", "write", "revoke"]):
        case "enqueue":
            return Enqueue([chance.randrange(CHOICES) for _ in range(chance.randint(1, 5))], chance.choice(SPECIALS))
        case "work":
            return Work([choose_step(chance) for _ in range(chance.randint(2, 12))])
        case "alone":
            return WorkAlone(choice, [chance.choice(MOVES) for _ in range(chance.randint(3, 15))])
        case "trouble":
            return Trouble(chance.choice(TROUBLES), choice, chance.choice(COMMIT_FATES))
        case "write":
            fates = [chance.choice(WRITE_FATES) for _ in range(chance.randint(0, 3))]
            return Write(choice, fates, choose_step(chance))
        case _:
            grace = [chance.choice(GRACES) for _ in range(chance.randint(0, 5))]
            return Revoke(choice, grace, chance.choice(COMMIT_FATES))
