"""The fields of dataclasses and pydantic models, with their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, TypeAlias

from pydantic import BaseModel, RootModel
from pydantic_core import PydanticUndefined

from ..errors import Misfit
from .annotations import Digits, aliases_of, digits_of, type_hints
from .records import ABSENT, Absent, RecordClass
from .shape import D, Shape, is_same

DeclaredField: TypeAlias = tuple[str, object, object]
"""Name, annotation, and default: a value, a Factory, or Absent."""

_VARIES = Absent("and its default_factory makes another value each time, which no schema can hold: give one")


@dataclass(frozen=True, slots=True)
class Factory:
    """A `default_factory`, which is a default of the schema where it always makes the same value."""

    make: Callable[[], object]

    def constant(self, shape: Shape[D]) -> object:
        """The value that it makes each time, or Absent with the reason.

        Equal results of two calls are taken for that. Dates and times are not, since they hold for today.

        Raises:
            Misfit: what it makes does not fit the field.
        """
        try:
            first, second = self.make(), self.make()
        except Exception as error:  # noqa: BLE001  # the user's own code; one of pydantic's may want the other values
            return Absent(f"and its default_factory raised {type(error).__name__} without the other values: give one")
        datum = shape.check(first)
        return first if is_same(datum, shape.check(second)) and not _is_of_today(datum) else _VARIES


def _is_of_today(datum: object) -> bool:
    if isinstance(datum, dict):
        return any(map(_is_of_today, datum.values()))
    if isinstance(datum, list | tuple):
        return any(map(_is_of_today, datum))
    return isinstance(datum, date | time)


def record_fields(owner: RecordClass) -> list[DeclaredField]:
    """List the fields of a declared record."""
    if issubclass(owner, BaseModel):
        return _model_fields(owner)
    hints = type_hints(owner)
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise Misfit(f"has a {owner.__name__}, whose InitVar cannot be read back from it; make it a field")
    return [
        (f.name, hints[f.name], _default(f.default, f.default_factory)) for f in dataclasses.fields(owner) if f.init
    ]


def _model_fields(owner: type[BaseModel]) -> list[DeclaredField]:
    if issubclass(owner, RootModel) or owner.model_config.get("extra") == "allow":
        raise Misfit(f"has model {owner.__name__}, whose fields are not all named; name them")
    return [
        # The model enforces its own constraints; of the metadata a Decimal's digits and aliases shape the schema.
        (
            name,
            Annotated[info.annotation, Digits(**digits_of(info.metadata)), *aliases_of(info.metadata)],
            _default(info.default, info.default_factory),
        )
        for name, info in owner.model_fields.items()
    ]


def _default(value: object, factory: object) -> object:
    if callable(factory):
        return Factory(factory)
    return ABSENT if _is_missing(value) else value


def _is_missing(value: object) -> bool:
    return value is dataclasses.MISSING or value is PydanticUndefined
