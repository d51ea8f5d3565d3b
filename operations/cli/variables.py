"""Variables of the environment that look like settings and are none: a misspelt one would be passed over in silence."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import click

from .root import COMMANDS, PREFIX

_LOGGER = logging.getLogger("stoker.cli")
_NEAR: Final = 0.8
_SHARED: Final = (
    "STOKER_HOME",
    "STOKER_CACHE",
    "STOKER_OPERATOR",
    "STOKER_INBOX_URL",
    "STOKER_INBOX_TABLE",
    "STOKER_INDEX",
)
"""The variables that no option of the root stands for."""


def warn_of_misspelt(root: click.Context) -> None:
    """Log what the environment holds for the called command, and what the command ignores.

    Args:
        root: the context of the root command.
    """
    called = root.invoked_subcommand
    if isinstance(root.command, click.Group) and called is not None:
        command = root.command.get_command(root, called)
        for note in () if command is None else misspelt(os.environ, root.command, command):
            _LOGGER.warning("%s", note)


def variables_of(command: click.Command) -> set[str]:
    """The variables of a command's options, with those of its subcommands."""
    named = {
        name
        for param in command.params
        for name in ([param.envvar] if isinstance(param.envvar, str) else param.envvar or ())
    }
    if isinstance(command, click.Group):
        named |= {name for sub_command in command.commands.values() for name in variables_of(sub_command)}
    return named


def misspelt(environ: Mapping[str, str], root: click.Command, called: click.Command) -> Iterator[str]:
    """Name the variables that were ignored: all that begin as those of the called command, and near misses of others.

    Variables of commands that were not called are left alone, and so are an application's own.
    """
    of_root = {f"{PREFIX}_{option.replace('-', '_').upper()}" for option in _long_options(root)} | set(_SHARED)
    own, of_called = _prefix(str(called.name)), variables_of(called)
    others = tuple(_prefix(name) for name in (*COMMANDS, "kafka"))
    given = {name for name, value in environ.items() if value and name.startswith(f"{PREFIX}_")}
    for variable in _without_services(given - of_root - of_called):
        if variable.startswith(own):
            yield _note(variable, of_called, f"no option of `stoker {called.name}` has it")
        elif not variable.startswith(others) and _near(variable, of_root):
            yield _note(variable, of_root, "no setting has it")


def _prefix(command: str) -> str:
    return f"{PREFIX}_{command.replace('-', '_').upper()}_"


def _without_services(variables: set[str]) -> list[str]:
    if not variables:
        return []
    from ...topology.cluster.environment import (
        is_of_a_service,  # here, since it costs time, and most environments need it not
    )

    return sorted(variable for variable in variables if not is_of_a_service(variable))


def _long_options(root: click.Command) -> Iterator[str]:
    for param in root.params:
        if isinstance(param, click.Option):
            yield max(param.opts, key=len).lstrip("-")


def _near(variable: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(variable, sorted(known), n=1, cutoff=_NEAR)


def _note(variable: str, known: Iterable[str], why: str) -> str:
    near = _near(variable, known)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"the environment's {variable} was ignored: {why}{hint}"
