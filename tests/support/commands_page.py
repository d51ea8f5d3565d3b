"""The command line's reference as Markdown, made of its help; `make reference` writes it to docs/commands.md."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from stoker.operations.cli import main

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "commands.md"

_HEAD: Final = """\
# Commands

Every command with its options, their environment variables and defaults. This page is made of what `--help` shows:
`make reference` writes it. How the commands are used is in [operations](operations.md), and in which file each one is,
at [the end](#where-each-command-is).
"""
_WHERE: Final = """
## Where each command is

The files of the commands, for people who change them. A command that is missing is in the file of its group.

| command | file |
|---|---|"""


def commands_page() -> str:
    """The whole page."""
    root = click.Context(main, info_name="stoker", max_content_width=100)
    commands = list(_commands(root))
    contents = "\n".join(f"- [{ctx.command_path}](#{ctx.command_path.replace(' ', '-')})" for ctx in commands)
    places = "\n".join(f"| `{ctx.command_path}` | {_place(ctx)} |" for ctx in commands if _has_own_file(ctx))
    return "\n".join([_HEAD, contents, *map(_section, commands), _WHERE, places]).rstrip() + "\n"


def _commands(ctx: click.Context) -> Iterator[click.Context]:
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            command = ctx.command.get_command(ctx, name)
            assert command is not None
            yield from _commands(click.Context(command, info_name=name, parent=ctx))


def _has_own_file(ctx: click.Context) -> bool:
    return ctx.parent is None or _file_of(ctx) != _file_of(ctx.parent)


def _place(ctx: click.Context) -> str:
    """The file of a command, with a link to it."""
    path = _file_of(ctx)
    return f"[{path}](../{path})"


def _file_of(ctx: click.Context) -> Path:
    assert ctx.command.callback is not None
    module = sys.modules[inspect.unwrap(ctx.command.callback).__module__]
    return Path(module.__file__ or "").resolve().relative_to(ROOT)


def _section(ctx: click.Context) -> str:
    command = ctx.command
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    records = [param.get_help_record(ctx) for param in command.get_params(ctx)]
    rows = [
        f"| {_cell(f'`{name}`')} | {_cell(text)} |"
        for name, text in filter(None, records)
        if "--help" not in name.split(", ")
    ]
    table = ["| option | meaning |", "|---|---|", *rows, ""] if rows else []
    prose = [_paragraph(text) for text in inspect.cleandoc(command.help or "").split("\n\n")]
    return "\n".join([f"\n## {ctx.command_path}\n", f"```text\n{usage}\n```\n", *prose, *table])


def _paragraph(text: str) -> str:
    """A paragraph of the help; one behind click's mark `\\b` stands line by line."""
    if not text.startswith("\b"):
        return f"{text.replace('<', '&lt;')}\n"
    return f"```text\n{textwrap.dedent(text.removeprefix(chr(8))).strip(chr(10))}\n```\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
