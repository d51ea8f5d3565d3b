"""Keeps Stoker's loggers on, and what they cause to a lost line.

Many configurations of logging disable all loggers that they do not name, and an application's handlers may raise.
"""

from __future__ import annotations

import logging
from typing import Final

ROOT: Final = "stoker"


def keep_loggers_on() -> None:
    """Make all loggers of Stoker's own immune to being disabled, and to handlers that raise, now and later.

    `logging.config.dictConfig` and `fileConfig` disable all loggers that exist and are not named, unless they are asked
    otherwise: a worker would lose jobs to the dead letters, and end, without a line. A handler whose server is away
    would end the worker with the first job that fails. Levels, handlers and propagation stay the application's.
    """
    for name, found in list(logging.root.manager.loggerDict.items()):
        if isinstance(found, logging.Logger) and (name == ROOT or name.startswith(f"{ROOT}.")):
            kind = type(found)
            if not isinstance(vars(kind).get("disabled"), property):
                found.__class__ = _kept_on(kind)


def _kept_on(kind: type[logging.Logger]) -> type[logging.Logger]:
    def handle(logger: logging.Logger, record: logging.LogRecord) -> None:
        """Handle a record; what the application's filters and handlers raise is printed, as `logging` does it."""
        try:
            kind.handle(logger, record)
        except Exception:  # noqa: BLE001  # the application's own code, at a line that settles jobs or polls
            _REPORTING.handleError(record)

    return type(kind.__name__, (kind,), {"disabled": _ALWAYS_ON, "handle": handle})


_REPORTING: Final = logging.Handler()
_ALWAYS_ON: Final = property(lambda _self: False, lambda _self, _value: None, doc="False, whatever it is set to.")
