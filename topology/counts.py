"""Numbers of things as people read them: one job, two jobs."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """How many there are of something.

    Args:
        noun: its singular, which an s makes plural.

    >>> counted(1, "job"), counted(1_200, "dead letter")
    ('1 job', '1,200 dead letters')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def counted_doing(count: int, noun: str, verb: str) -> str:
    """How many of something do something.

    Args:
        noun, verb: as of one noun, and as of several that act.

    >>> counted_doing(1, "job", "wait"), counted_doing(1_200, "job", "wait")
    ('1 job waits', '1,200 jobs wait')
    """
    return f"{counted(count, noun)} {verb}{'s' if count == 1 else ''}"
