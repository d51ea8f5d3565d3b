"""Shapes of values with parts: enums, arrays, maps, optionals and unions. Records are in records.py."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .avro import Schema
from .errors import Misfit, seen
from .shapes import Shape, refuse_other


def wrapped(shape: Shape, datum: Any) -> Any:
    """Mark a named type's datum with its name, as it stands inside a union."""
    return datum if shape.name is None else (shape.name, datum)


def unwrapped(shape: Shape, datum: Any) -> Any:
    """Take the mark of `wrapped` off."""
    return datum if shape.name is None else datum[1]


class EnumShape:
    """Members of an Enum, written by name; plain text where the schema is given and no class is."""

    datum_type = str

    def __init__(self, name: str, symbols: Sequence[str], member: type[enum.Enum] | None, avro: Schema | None) -> None:
        self.name: str | None = name
        self._symbols, self._known, self._member, self._avro = list(symbols), frozenset(symbols), member, avro
        self.plain = member is None

    def schema(self, defined: set[str]) -> Schema:
        """See Shape."""
        name = str(self.name)
        if name in defined:
            return name
        defined.add(name)
        return self._avro or {"type": "enum", "name": name, "symbols": self._symbols}

    def check(self, value: Any) -> str:
        """See Shape."""
        if self._member is None:
            return self.parse(value)
        if not isinstance(value, self._member):
            raise refuse_other(value, f"a {self._member.__name__}")
        if value.name not in self._known:
            raise Misfit(f"is {value.name}, which the schema does not list")
        return value.name

    def build(self, datum: str) -> Any:
        """See Shape."""
        return datum if self._member is None else self._member[datum]

    def parse(self, data: Any) -> str:
        """See Shape."""
        if isinstance(data, str) and data in self._known:
            return str(data)
        raise Misfit(f"must be one of {', '.join(self._symbols)}")

    def render(self, datum: str) -> str:
        """See Shape."""
        return datum

    default = render
    undefault = render


class ArrayShape:
    """A list, or a tuple of any length, of one shape."""

    datum_type = list
    name: str | None = None

    def __init__(self, item: Shape, value_type: type[list[Any]] | type[tuple[Any, ...]] = list) -> None:
        self._item, self._type = item, value_type
        self.plain = item.plain and value_type is list

    def schema(self, defined: set[str]) -> Schema:
        """See Shape."""
        return {"type": "array", "items": self._item.schema(defined)}

    def _each(self, step: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        done: list[Any] = []
        try:
            for item in items:
                done.append(step(item))
        except Misfit as misfit:
            raise misfit.within(len(done)) from misfit.__cause__
        return done

    def check(self, value: Any) -> list[Any]:
        """See Shape."""
        if not isinstance(value, self._type):
            raise refuse_other(value, f"a {self._type.__name__}")
        return self._each(self._item.check, value)

    def build(self, datum: list[Any]) -> Any:
        """See Shape."""
        return self._type(self._each(self._item.build, datum))

    def parse(self, data: Any) -> list[Any]:
        """See Shape."""
        if not isinstance(data, list):
            raise refuse_other(data, "a list")
        return self._each(self._item.parse, data)

    def render(self, datum: list[Any]) -> list[Any]:
        """See Shape."""
        return [self._item.render(item) for item in datum]

    def default(self, datum: list[Any]) -> list[Any]:
        """See Shape."""
        return [self._item.default(item) for item in datum]

    def undefault(self, default: list[Any]) -> list[Any]:
        """See Shape."""
        return [self._item.undefault(item) for item in default]


class MapShape:
    """A dict from text to one shape."""

    datum_type = dict
    name: str | None = None

    def __init__(self, part: Shape) -> None:
        self._part = part
        self.plain = part.plain

    def schema(self, defined: set[str]) -> Schema:
        """See Shape."""
        return {"type": "map", "values": self._part.schema(defined)}

    def _each(self, step: Callable[[Any], Any], parts: Mapping[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = {}
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

    def check(self, value: Any) -> dict[str, Any]:
        """See Shape."""
        if not isinstance(value, dict):
            raise refuse_other(value, "a dict")
        return self._each(self._part.check, value)

    def build(self, datum: dict[str, Any]) -> dict[str, Any]:
        """See Shape."""
        return self._each(self._part.build, datum)

    def parse(self, data: Any) -> dict[str, Any]:
        """See Shape."""
        if not isinstance(data, dict):
            raise refuse_other(data, "an object")
        return self._each(self._part.parse, data)

    def render(self, datum: dict[str, Any]) -> dict[str, Any]:
        """See Shape."""
        return {key: self._part.render(part) for key, part in datum.items()}

    def default(self, datum: dict[str, Any]) -> dict[str, Any]:
        """See Shape."""
        return {key: self._part.default(part) for key, part in datum.items()}

    def undefault(self, default: dict[str, Any]) -> dict[str, Any]:
        """See Shape."""
        return {key: self._part.undefault(part) for key, part in default.items()}


class UnionShape:
    """One of several shapes, told apart by the type of the datum, or its name when it is a named type.

    As JSON, None and the only other branch stand bare; with more branches each is `{"<branch>": ...}`, as in Avro's
    own JSON encoding, because text could be a string, a date or a UUID.
    """

    datum_type = object
    name: str | None = None

    def __init__(self, branches: Sequence[Shape]) -> None:
        self._branches = list(branches)
        self._others = [branch for branch in branches if branch.datum_type is not type(None)]
        self._by_name = {branch.name: branch for branch in branches if branch.name is not None}
        self._by_type: dict[type, Shape] = {}
        for branch in branches:
            if branch.name is None:
                self._by_type.setdefault(branch.datum_type, branch)
        self.plain = not self._by_name and all(branch.plain for branch in branches)
        self._optional = len(self._others) < len(self._branches)
        # `X | None` is most of all unions: it is checked without a search.
        self._only = self._others[0] if self._optional and len(self._others) == 1 else None

    def schema(self, defined: set[str]) -> Schema:
        """See Shape."""
        return [branch.schema(defined) for branch in self._branches]

    def leading(self, datum: Any) -> UnionShape:
        """Put the branch of a default first, which is where Avro looks for it."""
        first = self.branch_of(datum)
        return UnionShape([first, *(branch for branch in self._branches if branch is not first)])

    def branch_of(self, datum: Any) -> Shape:
        """Find the branch that a datum belongs to."""
        shape = self._by_name.get(datum[0]) if type(datum) is tuple else self._by_type.get(type(datum))
        if shape is None:
            raise Misfit(f"matches no branch of its union: {seen(datum)}")
        return shape

    def _first(self, value: Any, form: str) -> Any:
        if value is None and self._optional:
            return None
        refusals: list[Misfit] = []
        for branch in self._others:
            try:
                return wrapped(branch, getattr(branch, form)(value))
            except Misfit as misfit:
                refusals.append(misfit)
        if len(refusals) == 1:
            raise refusals[0]
        raise Misfit("fits no branch: " + "; ".join(f"{m.field} {m.reason}".strip() for m in refusals))

    def check(self, value: Any) -> Any:
        """See Shape."""
        if self._only is None:
            return self._first(value, "check")
        return None if value is None else wrapped(self._only, self._only.check(value))

    def build(self, datum: Any) -> Any:
        """See Shape."""
        branch = self.branch_of(datum)
        return branch.build(unwrapped(branch, datum))

    def parse(self, data: Any) -> Any:
        """See Shape."""
        if len(self._others) > 1 and isinstance(data, dict) and len(data) == 1:
            for branch in self._others:
                if label(branch) in data:
                    return self._tagged(branch, data[label(branch)])
        return self._first(data, "parse")

    def _tagged(self, branch: Shape, data: Any) -> Any:
        return wrapped(branch, branch.parse(data))

    def render(self, datum: Any) -> Any:
        """See Shape."""
        branch = self.branch_of(datum)
        shown = branch.render(unwrapped(branch, datum))
        return shown if datum is None or len(self._others) == 1 else {label(branch): shown}

    def default(self, datum: Any) -> Any:
        """See Shape; Avro's default of a union is one of its first branch."""
        return self._branches[0].default(unwrapped(self._branches[0], datum))

    def undefault(self, default: Any) -> Any:
        """See Shape."""
        return wrapped(self._branches[0], self._branches[0].undefault(default))


def label(branch: Shape) -> str:
    """Name a branch in tagged JSON: its full name, its logical type, or its kind."""
    if branch.name is not None:
        return branch.name
    avro = branch.schema(set())
    if isinstance(avro, dict):
        return str(avro.get("logicalType", avro["type"]))
    return str(avro)
