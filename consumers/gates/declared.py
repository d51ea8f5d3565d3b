"""`make_gates`: which gates a queue has. A new reason to wait is a gate in a file of its own, and a line here."""

from __future__ import annotations

from collections.abc import Sequence

from ...topology import Queue
from .gate import Gate


def make_gates(queue: Queue) -> Sequence[Gate]:
    """The gates of a queue, in the order in which they are asked; so far, no declaration asks for one."""
    return ()
