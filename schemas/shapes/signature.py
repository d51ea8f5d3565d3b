"""The parameters of a job's handler: of a function, a method, a `functools.partial`, an instance with `__call__`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType

from ..errors import Misfit
from .annotations import type_hints
from .records import ABSENT

Handler = Callable[..., object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a handler; `positional`: a call may give it by position."""

    name: str
    annotation: object
    default: object
    positional: bool


def called_function(handler: Handler) -> Handler:
    """The function that a call of the handler enters: behind partials, and `__call__` where it is an instance."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if isinstance(handler, FunctionType | MethodType | BuiltinFunctionType | type):
        return handler
    return handler if hasattr(handler, "__wrapped__") else type(handler).__call__


def annotated_function(handler: Handler) -> Handler:
    """The function that has the annotations: behind decorators as well."""
    found = called_function(handler)
    while (inner := called_function(inspect.unwrap(found))) is not found:
        found = inner
    return found


def parameters_of(handler: Handler) -> list[Parameter]:
    """List the parameters that a call of the handler may give; what a partial has bound is its own affair.

    Raises:
        Misfit: one of them cannot be part of a payload.
    """
    try:
        found = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError) as error:
        raise Misfit("has a handler whose parameters Python does not know; write a function that calls it") from error
    bound = _bound_names(handler)
    hints = type_hints(annotated_function(handler))
    return [_parameter(parameter, hints) for parameter in found if parameter.name not in bound]


def _bound_names(handler: Handler) -> set[str]:
    names: set[str] = set()
    while True:
        if isinstance(handler, functools.partial):
            names |= handler.keywords.keys()
            handler = handler.func
        elif (wrapped := inspect.unwrap(handler, stop=lambda at: isinstance(at, functools.partial))) is not handler:
            handler = wrapped
        else:
            return names


def _parameter(parameter: inspect.Parameter, hints: Mapping[str, object]) -> Parameter:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise Misfit("collects any number of arguments; a payload has named fields").within(parameter.name)
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise Misfit("is positional-only; a payload's fields have names").within(parameter.name)
    if parameter.name not in hints:
        raise Misfit("has no type annotation").within(parameter.name)
    return Parameter(
        name=parameter.name,
        annotation=hints[parameter.name],
        default=ABSENT if parameter.default is parameter.empty else parameter.default,
        positional=parameter.kind is parameter.POSITIONAL_OR_KEYWORD,
    )
