"""`FieldIndex`: finds what holds for jobs with certain fields, such as a type or a key, by the fields of a record."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Generic, TypeAlias, TypeVar

ValueT = TypeVar("ValueT")
Fields: TypeAlias = tuple[Hashable, ...]
"""Always the same fields in the same order; of jobs that are wanted, None where a field does not matter."""
_Shape: TypeAlias = tuple[int, ...]
"""The positions of the fields that matter."""
_Shelf: TypeAlias = tuple[Callable[[Fields], object], dict[object, ValueT]]
"""The getter of those fields that matter out of all, and {these: value}."""


class FieldIndex(Generic[ValueT]):
    """Asked by all threads, changed by one at a time. What it costs to ask grows with the shapes alone."""

    __slots__ = ("_shelves",)

    def __init__(self) -> None:
        self._shelves: Mapping[_Shape, _Shelf[ValueT]] = MappingProxyType({})

    def __bool__(self) -> bool:
        return bool(self._shelves)

    def put(self, wanted: Fields, value: ValueT) -> None:
        """Set the value for jobs of these fields."""
        shape = _shape_of(wanted)
        if shape not in self._shelves:
            self._shelves = {**self._shelves, shape: (_taker(shape), {})}
        take, values = self._shelves[shape]
        values[take(wanted)] = value

    def remove(self, wanted: Fields) -> None:
        """Remove the value for jobs of these fields, if there is one."""
        shape = _shape_of(wanted)
        if shape not in self._shelves:
            return
        take, values = self._shelves[shape]
        values.pop(take(wanted), None)
        if not values:
            self._shelves = {known: shelf for known, shelf in self._shelves.items() if known != shape}

    def get(self, wanted: Fields) -> ValueT | None:
        """The value for jobs of these fields and no others."""
        shelf = self._shelves.get(_shape_of(wanted))
        return None if shelf is None else shelf[1].get(shelf[0](wanted))

    def of(self, fields: Fields) -> Iterator[ValueT]:
        """The values for a job with these fields: of each shape at most one, in the order in which the shapes came."""
        for take, values in self._shelves.values():
            value = values.get(take(fields))
            if value is not None:
                yield value


def _shape_of(wanted: Fields) -> _Shape:
    return tuple(position for position, field in enumerate(wanted) if field is not None)


def _taker(shape: _Shape) -> Callable[[Fields], object]:
    return itemgetter(*shape) if shape else lambda _fields: ()
