"""Who gives an order: the operator's name and host."""

from __future__ import annotations

import getpass
import os
import socket
from typing import Final

OPERATOR_VARIABLE: Final = "STOKER_OPERATOR"


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
