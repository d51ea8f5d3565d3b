"""`Shape`: how a value is written in Avro, checked, and shown as JSON.

A *shape* joins three forms of one value:

    value  what the job's function takes          (a `datetime`, an `Enum` member, a dataclass)
    datum  what a body is written from            (a `datetime`, the member's name, a dict)
    JSON   what a person types or reads           ("2013-01-31T05:17:00+00:00", ...)

`check` is value -> datum and never converts what does not fit; `build` is datum -> value; `parse` and `render` go
from and to JSON. A refusal is a `Misfit`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from ..codec.schema import Schema
from ..errors import Misfit, seen
from ..json_data import Json

D = TypeVar("D")

Step: TypeAlias = Callable[[object], D]
"""Makes a datum of something, or raises Misfit."""


class Shape(Protocol[D]):
    """The methods of every shape; `D` is the type of its data."""

    @property
    def name(self) -> str | None:
        """Full Avro name of a named type (record, enum, fixed), else None."""

    @property
    def value_type(self) -> type:
        """Python type of the values, by which a union finds the branch of a value."""

    @property
    def plain(self) -> bool:
        """Whether value and datum are the same object, so that `build` can be left out."""

    def schema(self, defined: set[str]) -> Schema:
        """Return the Avro schema; a name already in `defined` is referred to, a new one is added."""

    def check(self, value: object) -> D:
        """Turn a value into a datum, or raise Misfit."""

    def build(self, datum: D) -> object:
        """Turn a datum into a value, or raise Misfit."""

    def parse(self, data: object) -> D:
        """Turn JSON as a person types it into a datum, or raise Misfit."""

    def render(self, datum: D) -> Json:
        """Turn a datum into JSON that `parse` reads back."""

    def default(self, datum: D) -> Json:
        """Turn a datum into the JSON in which Avro schemas write defaults, or raise Misfit."""

    def undefault(self, default: object) -> D:
        """Turn a default as Avro schemas write it into a datum, or raise Misfit."""


AnyShape: TypeAlias = Shape[Any]
"""A shape as a record, an array or a union holds it. Which data it has, its schema decides when the program runs."""


def same(value: Any) -> Any:  # a value, datum or JSON of any scalar
    """Leave a value as it is, for the forms that coincide."""
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar(Generic[D]):
    """A shape made of one function for each direction."""

    avro: Schema
    value_type: type
    check: Step[D]
    parse: Step[D]
    undefault: Step[D]
    render: Callable[[D], Json] = same
    default: Callable[[D], Json] = same
    build: Callable[[D], object] = same
    plain: bool = True
    name: str | None = None

    def schema(self, defined: set[str]) -> Schema:
        """Return the Avro schema; fixed types are named, and defined once."""
        if self.name is None:
            return self.avro
        if self.name in defined:
            return self.name
        defined.add(self.name)
        return self.avro


AnyScalar: TypeAlias = Scalar[Any]
"""One of the scalars, in a table of them: see `AnyShape`."""


def refuse_other(value: object, wanted: str) -> Misfit:
    """Say what was wanted and what came instead."""
    if value is None:
        return Misfit(f"must be {wanted}; None is not allowed here")
    return Misfit(f"must be {wanted}, got {seen(value)}")


def is_same(one: object, other: object) -> bool:
    """Whether two values are equal in value and in type, and so are all their parts; NaN is the same as NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(map(is_same, one.values(), map(other.__getitem__, one)))
    return one == other or (one != one and other != other)  # noqa: PLR0124  # only NaN is not itself
