"""Numbers of things as people read them: one job, two jobs."""

from __future__ import annotations

from typing import Final

_OF_ONE: Final = {"are": "is", "were": "was"}


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """How many there are of something.

    Args:
        noun: its singular.
        plural: where it is not the singular with an s.

    >>> counted(1, "job"), counted(1_200, "dead letter"), counted(2, "copy", "copies")
    ('1 job', '1,200 dead letters', '2 copies')
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def counted_doing(count: int, noun: str, verb: str) -> str:
    """How many of something do something.

    Args:
        noun, verb: as of one noun, and as of several that act.

    >>> counted_doing(1, "job", "wait"), counted_doing(1_200, "job", "wait"), counted_doing(1, "job", "were")
    ('1 job waits', '1,200 jobs wait', '1 job was')
    """
    return f"{counted(count, noun)} {_OF_ONE.get(verb, f'{verb}s') if count == 1 else verb}"
