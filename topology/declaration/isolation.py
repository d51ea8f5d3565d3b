"""Checks that a job type's jobs can run in child processes, and how a child finds its handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

Isolation = Literal["process"]

LEAST_MEMORY_LIMIT_BYTES: Final = 32 * 1024 * 1024
"""A Python process that has only imported Stoker holds more than that."""


def isolation_faults(
    handler: Callable[..., object], isolation: Isolation | None, memory_limit_bytes: int | None
) -> list[str]:
    """List what is wrong with a job type's isolation; empty when all is well."""
    if isolation is None:
        unbound = "memory_limit_bytes is kept in child processes only: declare isolation='process' as well"
        return [] if memory_limit_bytes is None else [unbound]
    faults = []
    if isolation not in get_args(Isolation):
        faults.append(f"isolation must be 'process' or left out; it is {isolation!r}")
    if memory_limit_bytes is not None and memory_limit_bytes < LEAST_MEMORY_LIMIT_BYTES:
        faults.append(
            f"memory_limit_bytes must be at least {LEAST_MEMORY_LIMIT_BYTES}, which an idle child needs; "
            f"it is {memory_limit_bytes}"
        )
    hidden = why_not_importable(handler)
    if hidden is not None:
        faults.append(f"isolation='process' needs a handler that another process can import: {hidden}")
    return faults


def why_not_importable(handler: Callable[..., object]) -> str | None:
    """Say why another process cannot find the handler by module and qualified name; None where its name allows it."""
    module, qualname = getattr(handler, "__module__", None), getattr(handler, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        return f"{handler!r} has no name of its own; write an ordinary function at the top of a module that calls it"
    if "<lambda>" in qualname:
        return f"a lambda has no name to be found by; write it as a function at the top of module {module}"
    if "<locals>" in qualname:
        return (
            f"{qualname} is made anew by each call of the function around it; move it to the top of module {module}, "
            "and give it what it used of that function as arguments"
        )
    return None
