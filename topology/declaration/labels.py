"""The labels of a call, its ordering key and its tenant: made by a function of the arguments, or found by a path.

Both are held against the job's parameters when it is declared, so that a label that can never be made fails there, and
not in each enqueue.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from ...schemas import Contract
from ...schemas.codec.schema import Schema, kind_of, logical_type

Label = Literal["key", "tenant", "unique", "by", "cost"]

LabelDeclaration: TypeAlias = Callable[..., str | None] | str
"""The `key` and `tenant` of `Pipeline.job`: a function of some of the arguments, or a path, `order.customer`.

The function's types are left open: so those of the job's function alone decide what callers see, also beside a lambda.
"""

Arguments: TypeAlias = tuple[object, ...]

_POSITIONAL: Final = inspect.Parameter.POSITIONAL_ONLY
_EITHER: Final = inspect.Parameter.POSITIONAL_OR_KEYWORD
_OTHERS: Final = inspect.Parameter.VAR_POSITIONAL
_OTHERS_NAMED: Final = inspect.Parameter.VAR_KEYWORD

_LABELS: Final = frozenset({"string", "int", "long", "enum"})
"""Avro's kinds of which a path makes a label: text, whole numbers, UUIDs and the names of an Enum's members."""


class LabelNotFound(Exception):
    """No key or tenant could be made of a call's arguments; `reason` completes "the key …"."""

    def __init__(self, label: Label, reason: str) -> None:
        super().__init__(label, reason)
        self.label, self.reason = label, reason

    def __str__(self) -> str:
        return f"the {self.label} {self.reason}"


class Unfit(Exception):
    """A declared key or tenant does not go with the job's parameters; the message completes the declaration's fault."""


@dataclass(frozen=True, slots=True)
class _Argument:
    """Finds one argument of a call, however it was given."""

    label: Label
    name: str
    position: int | None
    default: Callable[[], object] | None

    def of(self, args: Arguments, kwargs: Mapping[str, object]) -> object:
        if self.position is not None and self.position < len(args):
            return args[self.position]
        if self.name in kwargs:
            return kwargs[self.name]
        if self.default is None:
            raise LabelNotFound(self.label, f"needs the argument {self.name!r}, which is missing")
        return self.default()


class LabelFunction:
    """Calls the declared function with those of a call's arguments that it names, defaults included."""

    def __init__(self, label: Label, function: Callable[..., Any], contract: Contract) -> None:
        self._label, self._function = label, function
        arguments = {name: _argument(label, name, contract) for name in contract.parameters}
        wanted = _signature(function)
        self._by_position, self._by_name = _split(wanted, arguments)
        # A function of all arguments in their order, called with all of them, needs no looking for each.
        is_alike = contract.positional == contract.parameters == tuple(parameter.name for parameter in wanted)
        self._count = len(wanted) if is_alike and {p.kind for p in wanted} <= {_POSITIONAL, _EITHER} else -1

    def of(self, args: Arguments, kwargs: Mapping[str, object]) -> Any:
        """Make the label of a call's arguments, whatever the function returns; text or None, if it is as declared.

        Raises:
            LabelNotFound: the function raised.
        """
        if len(args) != self._count or kwargs:
            by_name = {argument.name: argument.of(args, kwargs) for argument in self._by_name}
            args, kwargs = tuple(argument.of(args, kwargs) for argument in self._by_position), by_name
        try:
            return self._function(*args, **kwargs)
        except Exception as error:  # the user's own code, which may raise anything
            reason = f"could not be made: its function raised {type(error).__name__}"
            raise LabelNotFound(self._label, reason) from error


def _argument(label: Label, name: str, contract: Contract) -> _Argument:
    position = contract.positional.index(name) if name in contract.positional else None
    return _Argument(label, name, position, contract.defaults.get(name))


def _signature(function: Callable[..., object]) -> Sequence[inspect.Parameter]:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise Unfit("is an async function; `enqueue` calls it before anything is awaited, so write it with `def`")
    try:
        return tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise Unfit(
            "has parameters that Python does not know; write a lambda that names the job's, or a path as text"
        ) from error


def _split(
    wanted: Sequence[inspect.Parameter], known: Mapping[str, _Argument]
) -> tuple[list[_Argument], list[_Argument]]:
    """Sort the arguments that a function takes into those to pass by position and by name."""
    kinds = {parameter.kind for parameter in wanted}
    in_order = {_POSITIONAL, _EITHER} if _OTHERS in kinds else {_POSITIONAL}
    taken = [parameter for parameter in wanted if parameter.kind not in {_OTHERS, _OTHERS_NAMED}]
    _require_known(taken, known, in_order)
    by_position = [known[p.name] for p in taken if p.kind in in_order]
    by_name = [known[p.name] for p in taken if p.kind not in in_order and p.name in known]
    others = [argument for argument in known.values() if argument not in by_position + by_name]
    if _OTHERS in kinds:
        by_position += others
    elif _OTHERS_NAMED in kinds:
        by_name += others
    return by_position, by_name


def _require_known(
    taken: Sequence[inspect.Parameter], known: Mapping[str, _Argument], in_order: Collection[inspect._ParameterKind]
) -> None:
    for parameter in taken:
        if parameter.name not in known and (parameter.kind in in_order or parameter.default is parameter.empty):
            raise Unfit(f"takes {parameter.name!r}, which is no parameter of the job; {_has(tuple(known))}")


def _has(parameters: tuple[str, ...]) -> str:
    return f"it has: {', '.join(parameters)}" if parameters else "it has none"


class LabelPath:
    """Follows a path from one of the job's parameters, as `customer_id` or `order.customer_id`."""

    def __init__(self, label: Label, path: str, contract: Contract) -> None:
        first, *self._fields = path.split(".")
        if first not in contract.parameters:
            raise Unfit(_unknown(path, first, contract))
        _require_text(path, contract.type_at(first, *self._fields))
        self._label, self._argument = label, _argument(label, first, contract)

    def of(self, args: Arguments, kwargs: Mapping[str, object]) -> str | None:
        """Make the label of a call's arguments; None where the value is, or an optional record on the way.

        Raises:
            LabelNotFound: the value is none of which a label is made.
        """
        value = self._argument.of(args, kwargs)
        for name in self._fields:
            value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        return self._text(value)

    def _text(self, value: object) -> str | None:
        if value is None:
            return None
        if isinstance(value, enum.Enum):
            return value.name
        if isinstance(value, str):
            return value
        if isinstance(value, int | UUID) and not isinstance(value, bool):
            return str(value)
        raise LabelNotFound(self._label, f"cannot be a {type(value).__name__}")


def _unknown(path: str, first: str, contract: Contract) -> str:
    owner = next((name for name in contract.parameters if contract.type_at(name, *path.split("."))), None)
    if owner is not None:
        return f"is not a parameter of the job; did you mean {f'{owner}.{path}'!r}?"
    return f"begins with {first!r}, which is no parameter of the job; {_has(contract.parameters)}"


def _require_text(path: str, avro: Schema | None) -> None:
    if avro is None:
        raise Unfit(f"leads to no field: follow records from field to field, each written in {path!r}")
    if kind_of(avro) not in _LABELS or logical_type(avro) not in {None, "uuid"}:
        raise Unfit("is neither text, an int, a UUID nor an Enum; make text of it with a function")


def made_label(label: Label, declared: LabelDeclaration, contract: Contract) -> LabelFunction | LabelPath:
    """Hold a declared key or tenant against the job's parameters.

    Raises:
        Unfit: it names what the job does not have, or what no label can be made of.
    """
    if isinstance(declared, str):
        return LabelPath(label, declared, contract)
    return LabelFunction(label, declared, contract)


def label_faults(label: Label, declared: object, contract: Contract) -> list[str]:
    """List what is wrong with a declared key or tenant; empty when all is well."""
    if declared is None:
        return []
    if not isinstance(declared, str) and not callable(declared):
        return [f"{label} must be a function, or the path of a parameter as text; it is {declared!r}"]
    shown = f"{label} {declared!r}" if isinstance(declared, str) else label
    try:
        made_label(label, declared, contract)
    except Unfit as unfit:
        return [f"{shown} {unfit}"]
    return []
