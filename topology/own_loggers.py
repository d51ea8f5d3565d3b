"""Keeps Stoker's loggers on: many configurations of logging disable all that they do not name."""

from __future__ import annotations

import logging
from typing import Final

ROOT: Final = "stoker"


def keep_loggers_on() -> None:
    """Make all loggers of Stoker's own immune to being disabled, now and later.

    `logging.config.dictConfig` and `fileConfig` disable all loggers that exist and are not named, unless they are told
    otherwise: a worker would lose jobs to the dead letters, and end, without a line. Levels, handlers and propagation
    stay the application's.
    """
    for name, found in list(logging.root.manager.loggerDict.items()):
        if isinstance(found, logging.Logger) and (name == ROOT or name.startswith(f"{ROOT}.")):
            kind = type(found)
            if not isinstance(vars(kind).get("disabled"), property):
                found.__class__ = type(kind.__name__, (kind,), {"disabled": _ALWAYS_ON})


_ALWAYS_ON: Final = property(lambda _self: False, lambda _self, _value: None, doc="False, whatever it is set to.")
