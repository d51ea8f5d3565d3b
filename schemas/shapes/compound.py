"""Shapes of enums, arrays and maps. Records are in records.py, unions in unions.py."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from ..codec.schema import Schema
from ..errors import Misfit, seen
from ..json_data import Json
from .shape import D, Shape, refuse_other

S = TypeVar("S")
T = TypeVar("T")


class EnumShape:
    """Members of an Enum, written by name; plain text where the schema is given and no class is."""

    def __init__(self, name: str, symbols: Sequence[str], member: type[enum.Enum] | None, avro: Schema | None) -> None:
        self.name: str | None = name
        self._symbols, self._known, self._member, self._avro = list(symbols), frozenset(symbols), member, avro
        self.plain = member is None
        self.value_type: type = member or str

    def schema(self, defined: set[str]) -> Schema:
        """See Shape."""
        name = str(self.name)
        if name in defined:
            return name
        defined.add(name)
        return self._avro or {"type": "enum", "name": name, "symbols": self._symbols}

    def check(self, value: object) -> str:
        """See Shape."""
        if self._member is None:
            return self.parse(value)
        if not isinstance(value, self._member):
            raise refuse_other(value, f"a {self._member.__name__}")
        if value.name not in self._known:
            raise Misfit(f"is {value.name}, which the schema does not list")
        return value.name

    def build(self, datum: str) -> object:
        """See Shape."""
        return datum if self._member is None else self._member[datum]

    def parse(self, data: object) -> str:
        """See Shape."""
        if isinstance(data, str) and data in self._known:
            return str(data)
        raise Misfit(f"must be one of {', '.join(self._symbols)}")

    def render(self, datum: str) -> str:
        """See Shape."""
        return datum

    default = render
    undefault = parse


class ArrayShape(Generic[D]):
    """A list, or a tuple of any length, of one shape."""

    name: str | None = None

    def __init__(self, item: Shape[D], value_type: type[list[object]] | type[tuple[object, ...]] = list) -> None:
        self._item, self._type = item, value_type
        self.value_type: type = value_type
        self.plain = item.plain and value_type is list

    def schema(self, defined: set[str]) -> Schema:
        """See Shape."""
        return {"type": "array", "items": self._item.schema(defined)}

    def _each(self, step: Callable[[S], T], items: Iterable[S]) -> list[T]:
        done: list[T] = []
        try:
            for item in items:
                done.append(step(item))
        except Misfit as misfit:
            raise misfit.within(len(done)) from misfit.__cause__
        return done

    def check(self, value: object) -> list[D]:
        """See Shape."""
        if not isinstance(value, self._type):
            raise refuse_other(value, f"a {self._type.__name__}")
        return self._each(self._item.check, value)

    def build(self, datum: list[D]) -> object:
        """See Shape."""
        return self._type(self._each(self._item.build, datum))

    def parse(self, data: object) -> list[D]:
        """See Shape."""
        if not isinstance(data, list):
            raise refuse_other(data, "a list")
        return self._each(self._item.parse, data)

    def render(self, datum: list[D]) -> Json:
        """See Shape."""
        return [self._item.render(item) for item in datum]

    def default(self, datum: list[D]) -> Json:
        """See Shape."""
        return [self._item.default(item) for item in datum]

    def undefault(self, default: object) -> list[D]:
        """See Shape."""
        if not isinstance(default, list):
            raise refuse_other(default, "a list")
        return self._each(self._item.undefault, default)


class MapShape(Generic[D]):
    """A dict from text to one shape."""

    value_type: type = dict
    name: str | None = None

    def __init__(self, part: Shape[D]) -> None:
        self._part = part
        self.plain = part.plain

    def schema(self, defined: set[str]) -> Schema:
        """See Shape."""
        return {"type": "map", "values": self._part.schema(defined)}

    def _each(self, step: Callable[[S], T], parts: Mapping[str, S]) -> dict[str, T]:
        done: dict[str, T] = {}
        for key, part in parts.items():
            if not isinstance(key, str):
                raise Misfit(f"must have text keys, got {seen(key)}")
            try:
                key.encode()
                done[key] = step(part)
            except Misfit as misfit:
                raise misfit.within(key) from misfit.__cause__
            except UnicodeEncodeError as error:
                raise Misfit("has a key with a lone surrogate, which UTF-8 cannot hold") from error
        return done

    def check(self, value: object) -> dict[str, D]:
        """See Shape."""
        if not isinstance(value, dict):
            raise refuse_other(value, "a dict")
        return self._each(self._part.check, value)

    def build(self, datum: dict[str, D]) -> object:
        """See Shape."""
        return self._each(self._part.build, datum)

    def parse(self, data: object) -> dict[str, D]:
        """See Shape."""
        if not isinstance(data, dict):
            raise refuse_other(data, "an object")
        return self._each(self._part.parse, data)

    def render(self, datum: dict[str, D]) -> Json:
        """See Shape."""
        return {key: self._part.render(part) for key, part in datum.items()}

    def default(self, datum: dict[str, D]) -> Json:
        """See Shape."""
        return {key: self._part.default(part) for key, part in datum.items()}

    def undefault(self, default: object) -> dict[str, D]:
        """See Shape."""
        if not isinstance(default, dict):
            raise refuse_other(default, "an object")
        return self._each(self._part.undefault, default)
