"""`TableOptions`: how the commands of inbox and outbox name a database, and their table in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from ...databases import Dialect

Command = TypeVar("Command", bound=Callable[..., Any])
DIALECTS: Final = ("postgresql", "sqlite")


class TableOptions:
    """Adds `--url` and `--table` to a command.

    Args:
        kind: `inbox` or `outbox`.
    """

    def __init__(self, kind: str) -> None:
        self._kind, self._variables = kind, f"STOKER_{kind.upper()}"

    def __call__(self, command: Command) -> Command:
        """Add both."""
        command = click.option(
            "--table",
            envvar=f"{self._variables}_TABLE",
            default=f"stoker_{self._kind}",
            show_default=True,
            help="`table` or `schema.table`.",
        )(command)
        return click.option(
            "--url",
            envvar=f"{self._variables}_URL",
            help="The database: postgresql://user@host/name or sqlite:///path. It may hold a password, so it is better "
            "kept in the environment, and it is never printed.",
        )(command)

    def given(self, url: str | None) -> str:
        """The URL, or a complaint that none is given."""
        if not url:
            raise click.UsageError(f"Name the database: --url postgresql://… or sqlite:///…, or {self._variables}_URL.")
        return url


def ddl_options(command: Command) -> Command:
    """Add `--print` and `--dialect`, for those who create tables by their own migrations."""
    command = click.option(
        "--dialect", type=click.Choice(DIALECTS), help="Of --print; without it that of --url, else postgresql."
    )(command)
    return click.option(
        "--print", "print_only", is_flag=True, help="Print the statements, for migrations, and do nothing."
    )(command)


def dialect_given(dialect: str | None, url: str | None) -> Dialect:
    """The dialect of `--print`."""
    from ...databases.url import dialect_of

    if dialect is None:
        return dialect_of(url) if url else "postgresql"
    return "sqlite" if dialect == "sqlite" else "postgresql"
