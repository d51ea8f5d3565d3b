"""Checks of a job's handler: it does the work when it is called, and has a name for its jobs."""

from __future__ import annotations

import asyncio
import collections.abc
import concurrent.futures
import functools
import inspect
from collections.abc import Callable
from typing import Final, get_origin, get_type_hints

from ...schemas.shapes.signature import annotated_function, called_function

_PUT_OFF: Final = (
    collections.abc.Awaitable,
    collections.abc.Generator,
    collections.abc.AsyncGenerator,
    asyncio.Future,
    concurrent.futures.Future,
)
"""Types of values that are work still to be done."""


def handler_name(handler: object) -> str | None:
    """The name that a handler has of its own; partials and instances have none, and neither have lambdas."""
    name = getattr(handler, "__name__", None)
    return name if isinstance(name, str) and name != "<lambda>" else None


def handler_summary(handler: object) -> str:
    """The first line of a handler's docstring; of a partial, its function's."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return (getattr(handler, "__doc__", None) or "").strip().partition("\n")[0]


def handler_faults(handler: object) -> list[str]:
    """List why something cannot be a handler; empty when it can."""
    if not callable(handler):
        return [f"its handler is of type {type(handler).__name__}, which cannot be called; decorate a function"]
    if inspect.isclass(handler):
        return ["its handler is a class, and calling it only makes an instance; give a function, or an instance"]
    called = called_function(handler)
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        return ["its handler is a generator, and calling it runs nothing of it; do the work without `yield`"]
    put_off = _kind_put_off(called)
    if put_off is not None:
        return [f"its handler returns work that nobody would do ({put_off}); do it in the handler, with `async def`"]
    return []


def _kind_put_off(called: Callable[..., object]) -> str | None:
    """The annotated return type of a handler, where that is work not done; behind a decorator nothing is known."""
    if annotated_function(called) is not called:
        return None
    try:
        returned = get_type_hints(called).get("return")
    except Exception:  # noqa: BLE001  # annotations are the user's expressions; the contract reports what is wrong with them
        return None
    kind = get_origin(returned) or returned
    return kind.__name__ if isinstance(kind, type) and issubclass(kind, _PUT_OFF) else None
