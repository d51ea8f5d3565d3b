"""The state machine: hypothesis chooses what happens next, and shrinks what went wrong."""

from __future__ import annotations

from random import Random
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from simulation import commands
from simulation.commands import Command, Enqueue, Revoke, Trouble, Work, WorkAlone, Write, choose_command
from simulation.play import Play
from simulation.world import Shape

CHOICE = st.integers(0, commands.CHOICES - 1)
MOVE = st.sampled_from(commands.MOVES)
STEP = st.tuples(CHOICE, MOVE, CHOICE)
COMMIT_FATE = st.sampled_from(commands.COMMIT_FATES)
WRITE_FATE = st.sampled_from(commands.WRITE_FATES)
WORK_ALONE = st.builds(WorkAlone, CHOICE, st.lists(MOVE, min_size=4, max_size=15))
COMMAND: st.SearchStrategy[Command] = st.one_of(
    WORK_ALONE,
    WORK_ALONE,
    st.builds(Enqueue, st.lists(CHOICE, min_size=1, max_size=5), st.sampled_from(commands.SPECIALS)),
    st.builds(Work, st.lists(STEP, min_size=3, max_size=12)),
    st.builds(Trouble, st.sampled_from(commands.TROUBLES), CHOICE, COMMIT_FATE),
    st.builds(Write, CHOICE, st.lists(WRITE_FATE, max_size=3), STEP),
    st.builds(Revoke, CHOICE, st.lists(st.sampled_from(commands.GRACES), max_size=5), COMMIT_FATE),
)


class WorkerMachine(RuleBasedStateMachine):
    """Any commands in any order, in a world of one shape.

    There is one rule, so that none can be left out: hypothesis likes to switch rules off.
    """

    shape: ClassVar[Shape] = Shape()
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.play = Play(self.shape)
        self.is_whole = True

    @rule(command=COMMAND, bustle=st.none() | st.integers(0, 2**32))
    def act(self, command: Command, bustle: int | None) -> None:
        """One thing happens; or ten, which a seed has chosen, to get far away from the beginning."""
        self.is_whole = False
        self.play.carry_out(command)
        if bustle is not None:
            chance = Random(bustle)
            for _ in range(10):
                self.play.carry_out(choose_command(chance))
        self.is_whole = True

    def teardown(self) -> None:
        """All faults end, and everything comes to rest."""
        if self.is_whole:
            self.play.finish()
        type(self).steps += self.play.steps
