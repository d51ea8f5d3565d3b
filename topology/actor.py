"""`Actor`: who acts on a pipeline, and from where: the operator, the host, the command and its version of Stoker."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Final

OPERATOR_VARIABLE: Final = "STOKER_OPERATOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, and from where.

    Attributes:
        command: the command, such as `stoker dead replay`, or the program, without arguments.
        version: of Stoker; empty where it is not installed as a distribution.
    """

    operator: str
    host: str
    command: str
    version: str

    @classmethod
    def of_process(cls, operator: str | None = None, command: str | None = None) -> Actor:
        """Who acts in this process; what is not given is taken from the environment."""
        return cls(
            operator=operator or operator_of_environment(),
            host=this_host(),
            command=command or PurePath(sys.argv[0] if sys.argv else "").name or "python",
            version=stoker_version(),
        )

    def __str__(self) -> str:
        """Who and where, as `ann@web-1`."""
        return f"{self.operator}@{self.host}"


def operator_of_environment() -> str:
    """`$STOKER_OPERATOR`, or the name of the user that runs this process."""
    named = os.environ.get(OPERATOR_VARIABLE, "").strip()
    if named:
        return named
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def this_host() -> str:
    """The name of this host."""
    return socket.gethostname() or "localhost"


@cache
def stoker_version() -> str:
    """The version of Stoker; empty where it is not installed as a distribution."""
    try:
        return version("stoker")
    except PackageNotFoundError:
        return ""
