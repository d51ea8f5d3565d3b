"""Plays commands that a seed has chosen, many thousands of times, and cuts down those that end badly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from simulation.commands import Command, Work, WorkAlone, choose_command
from simulation.play import Play
from simulation.world import Shape


class Broken(Exception):
    """A guarantee was broken: by which seed, and the fewest commands that do it."""

    def __init__(self, seed: int, commands: Sequence[Command], fault: BaseException) -> None:
        written = "\n".join(f"    {command}," for command in commands)
        super().__init__(f"seed {seed}: {type(fault).__name__}: {fault}\n{written}")
        self.commands = commands


def play(shape: Shape, commands: Iterable[Command], chance: float = 0.0) -> int:
    """Carry commands out, to the end; returns how many steps that took."""
    scene = Play(shape, chance)
    for command in commands:
        scene.carry_out(command)
    scene.finish()
    return scene.steps


def play_seed(shape: Shape, seed: int, length: int = 40) -> int:
    """Play what a seed has chosen.

    Raises:
        Broken: it ends badly.
    """
    chance = Random(seed)
    commands = [choose_command(chance) for _ in range(length)]
    try:
        return play(shape, commands)
    except Exception as fault:
        fewest = cut_down(shape, commands, type(fault))
        raise Broken(seed, fewest, _fault_of(shape, fewest) or fault) from fault


def cut_down(shape: Shape, commands: Sequence[Command], kind: type[Exception]) -> list[Command]:
    """Leave out what the fault does not need: ever smaller parts of the list, then single moves."""
    kept = _without_needless(shape, list(commands), kind)
    single: list[Command] = []
    for command in kept:
        match command:
            case WorkAlone(process, moves):
                single += [Work([(process, move, process + at)]) for at, move in enumerate(moves)]
            case Work(steps):
                single += [Work([step]) for step in steps]
            case _:
                single.append(command)
    return _without_needless(shape, single, kind)


def _without_needless(shape: Shape, commands: list[Command], kind: type[Exception]) -> list[Command]:
    if not isinstance(_fault_of(shape, commands), kind):
        return commands
    size = max(1, len(commands) // 2)
    while True:
        at = 0
        while at < len(commands):
            fewer = commands[:at] + commands[at + size :]
            if isinstance(_fault_of(shape, fewer), kind):
                commands = fewer
            else:
                at += size
        if size == 1:
            return commands
        size //= 2


def _fault_of(shape: Shape, commands: Sequence[Command]) -> Exception | None:
    try:
        play(shape, commands)
    except Exception as fault:  # noqa: BLE001  # whatever it is, it is the fault that is looked for
        return fault
    return None
