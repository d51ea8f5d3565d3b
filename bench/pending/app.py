"""The jobs that wait, as an application for `stoker -A pending.app:pipeline worker`: it is killed as users' are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from pending.jobs import (
    NAMESPACE_VARIABLE,
    NOTES_VARIABLE,
    ORDERING_VARIABLE,
    RELEASE_VARIABLE,
    SESSION_VARIABLE,
    declare,
)
from pending.notes import Notes
from stoker.topology.declaration.queue import Ordering

_session = os.environ.get(SESSION_VARIABLE)

pipeline = declare(
    os.environ[NAMESPACE_VARIABLE],
    None if _session is None else float(_session),
    Notes(Path(os.environ[NOTES_VARIABLE])),
    Path(os.environ[RELEASE_VARIABLE]),
    cast(Ordering, os.environ[ORDERING_VARIABLE]),
)
