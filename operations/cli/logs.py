"""Where the command line's log goes: stderr, as lines to read or, for machines, as one JSON object a line."""

from __future__ import annotations

import logging
import sys
from typing import Final, TextIO

from ..views.text_log import TextFormatter

_CHATTY: Final = ("httpx", "httpx2")
"""HTTP libraries of the Schema Registry's client: they log each request, so that an outage would be a line a second."""


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at that moment, so that a replaced stderr never leaves a closed stream behind."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        """The stderr of this moment."""
        return sys.stderr

    @stream.setter
    def stream(self, _given: TextIO) -> None:
        """Accept what the parent class sets, and stay with stderr."""


def log_to_stderr(level: str, formatter: logging.Formatter | None = None, handler: StderrHandler | None = None) -> None:
    """Send the process's log to stderr; called again, it replaces what it set before."""
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if isinstance(handler, StderrHandler)]:
        root.removeHandler(earlier)
    handler = handler or StderrHandler()
    handler.setFormatter(formatter or TextFormatter())
    root.addHandler(handler)
    root.setLevel(level.upper())
    for library in _CHATTY:
        logging.getLogger(library).setLevel(max(root.level, logging.WARNING) if root.level > logging.DEBUG else 0)
