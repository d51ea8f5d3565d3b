"""Where another process finds the handlers of job types: `addresses_of` in the worker, `find_handler` in both."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

from ...topology import InvalidDeclaration, JobType, RetryPolicy
from ...topology.declaration.isolation import why_not_importable
from ...topology.declaration.job_type import AnyJobType


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerAddress:
    """One job type as a child needs it: where its handler is, and the policy by which a failure is read.

    Attributes:
        is_async: whether the handler runs on an event loop.
        is_eager: whether the child imports it before it reports that it is ready.
        is_counted: whether a limit counts its runs, which the worker does before it gives the child the job: so the
            child tries to import it as early, lest the handler begin as much later as that takes.
    """

    name: str
    module: str
    qualname: str
    retry: RetryPolicy
    timeout: timedelta
    is_async: bool
    is_eager: bool
    is_counted: bool


class HandlerNotFound(Exception):
    """Another process cannot find a handler by its name, or cannot read its retry policy."""


def addresses_of(job_types: Mapping[str, AnyJobType]) -> dict[str, HandlerAddress]:
    """Where another process finds the handlers of those types that it can find.

    Raises:
        InvalidDeclaration: an isolated type is among those that it cannot.
    """
    found: dict[str, HandlerAddress] = {}
    for name, job_type in job_types.items():
        try:
            found[name] = _address_of(job_type)
        except HandlerNotFound as error:
            if job_type.isolation is not None:
                fault = f"isolation='process' cannot be kept: {error}"
                raise InvalidDeclaration(f"job type {name!r}", [fault]) from error
    return found


def _address_of(job_type: AnyJobType) -> HandlerAddress:
    """The address of a type.

    Raises:
        HandlerNotFound: it has none.
    """
    handler = job_type.handler
    _require_found(handler)
    _require_sendable(job_type.retry)
    return HandlerAddress(
        name=job_type.name,
        module=handler.__module__,
        qualname=handler.__qualname__,
        retry=job_type.retry,
        timeout=job_type.timeout,
        is_async=job_type.is_async,
        is_eager=job_type.isolation is not None,
        is_counted=bool(job_type.limits or job_type.queue.limits),
    )


def _require_found(handler: Callable[..., object]) -> None:
    hidden = why_not_importable(handler)
    if hidden is not None:
        raise HandlerNotFound(hidden)
    name = f"{handler.__module__}.{handler.__qualname__}"
    try:
        found = find_handler(handler.__module__, handler.__qualname__)
    except (ImportError, AttributeError) as error:
        raise HandlerNotFound(f"{name} cannot be found again ({error})") from error
    if found is not handler:
        raise HandlerNotFound(
            f"{name} is not the handler but something else, so another process would run that instead"
        )


def _require_sendable(policy: RetryPolicy) -> None:
    try:
        pickle.dumps(policy)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise HandlerNotFound(f"its retry policy names errors that another process cannot import ({error})") from error


def find_handler(module: str, qualname: str) -> Callable[..., object]:
    """Import a handler by its name; where the name is that of a job type, it is its handler.

    Raises:
        ImportError, AttributeError: nothing has that name.
    """
    found: Any = import_module(module)  # what stands there is the application's
    for part in qualname.split("."):
        found = getattr(found, part)
    handler: Callable[..., object] = found.handler if isinstance(found, JobType) else found
    return handler
