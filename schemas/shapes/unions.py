"""Shapes of optionals and unions: which branch a value is of, and how that stays known until it is a value again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from ..codec.schema import Schema, kind_of
from ..errors import Misfit
from ..json_data import Json
from .shape import AnyShape, is_same

# Order of the branches that are derived, and in which those are tried that are not of a value's own type. Declaration
# order would not do: typing's caches may hand out `int | str` where `str | int` was written.
_ORDER: Final = tuple("null boolean long int double float bytes string array map enum fixed record".split())  # noqa: SIM905

_Branch: TypeAlias = tuple[int, AnyShape]

T = TypeVar("T")


class UnionShape:
    """One of several shapes. The datum of a union is `(index of the branch, its datum)`; of an optional it is bare.

    A value goes to the branch of its own type. Only a value whose type is none of the branches' is tried with all of
    them, as an int where there is `float | str`.

    As JSON, None and the only other branch stand bare; with more branches each is `{"<branch>": ...}`, as in Avro's
    own JSON encoding, because text could be a string, a date or a UUID.
    """

    value_type: type = object
    name: str | None = None

    def __init__(self, branches: Sequence[AnyShape]) -> None:
        self.branches = list(branches)
        others = [(index, branch) for index, branch in enumerate(branches) if not _is_null(branch)]
        self._optional = len(others) < len(self.branches)
        self._others = sorted(others, key=lambda other: rank(other[1]))
        # `X | None` is most of all unions: it is checked without a search.
        self._only = others[0][1] if len(others) == 1 else None
        self.plain = self._only is not None and self._only.plain
        self._of_type: dict[type, list[_Branch]] = {}
        for other in self._others:
            self._of_type.setdefault(other[1].value_type, []).append(other)

    def schema(self, defined: set[str]) -> Schema:
        """See Shape."""
        return [branch.schema(defined) for branch in self.branches]

    def leading(self, datum: object) -> UnionShape:
        """Put the branch of a default first, which is where Avro looks for it; data of it have other indexes."""
        first, _ = self._part(datum)
        return UnionShape([first, *(branch for branch in self.branches if branch is not first)])

    def check(self, value: object) -> object:
        """See Shape."""
        if value is None and self._optional:
            return None
        if self._only is not None:
            return self._only.check(value)
        own = self._of_type.get(type(value))
        return self._first(value) if own is None else self._own(own, value)

    def _own(self, branches: list[_Branch], value: object) -> object:
        """Take the branch of the value's type; of several, as int and long, the first that gives it back unchanged."""
        fitting: list[tuple[int, object]] = []
        refusal: Misfit | None = None
        for index, branch in branches:
            try:
                datum = branch.check(value)
                if len(branches) == 1 or is_same(branch.build(datum), value):
                    return index, datum
                fitting.append((index, datum))
            except Misfit as misfit:
                refusal = refusal or misfit
        return fitting[0] if fitting else self._other(branches, value, refusal)

    def _other(self, refused: list[_Branch], value: object, refusal: Misfit | None) -> object:
        """Try the branches of other types, as for an int that a Literal beside a float does not list."""
        for index, branch in self._others:
            if (index, branch) not in refused:
                try:
                    return index, branch.check(value)
                except Misfit:
                    continue
        assert refusal is not None
        raise refusal

    def _first(self, value: object) -> object:
        fitting = self._fitting(lambda branch: branch.check(value), first=True)
        return fitting[0][0], fitting[0][2]

    def _fitting(self, step: Callable[[AnyShape], T], *, first: bool = False) -> list[tuple[int, AnyShape, T]]:
        """Find the branches that a step can be done with, at least one."""
        found: list[tuple[int, AnyShape, T]] = []
        refusals: list[Misfit] = []
        for index, branch in self._others:
            try:
                found.append((index, branch, step(branch)))
            except Misfit as misfit:
                refusals.append(misfit)
            if first and found:
                break
        if not found:
            raise Misfit("fits no branch: " + "; ".join(f"{m.field} {m.reason}".strip() for m in refusals))
        return found

    def _part(self, datum: Any) -> tuple[AnyShape, object]:  # bare or a pair, as the branches decide
        """Find the branch of a datum, and the datum of that branch."""
        if datum is None and self._optional:
            return next(branch for branch in self.branches if _is_null(branch)), None
        if self._only is not None:
            return self._only, datum
        index, inner = datum
        return self.branches[index], inner

    def build(self, datum: object) -> object:
        """See Shape."""
        branch, inner = self._part(datum)
        return branch.build(inner)

    def parse(self, data: object) -> object:
        """See Shape."""
        if data is None and self._optional:
            return None
        if self._only is not None:
            return self._only.parse(data)
        if isinstance(data, dict) and len(data) == 1:
            for index, branch in self._others:
                if label(branch) in data:
                    return index, branch.parse(data[label(branch)])
        return self._parse_bare(data)

    def _parse_bare(self, data: object) -> object:
        """Take the branch that reads JSON as it stands; where two make different values of it, it has to be named."""
        fitting = self._reading(data)
        exact = [found for found in fitting if is_same(found[1].render(found[2]), data)] or fitting
        (index, branch, datum), *rest = exact
        for _, other, other_datum in rest:
            if not is_same(branch.build(datum), other.build(other_datum)):
                one, two = label(branch), label(other)
                raise Misfit(f'could be {one} or {two}; write {{"{one}": ...}} or {{"{two}": ...}}')
        return index, datum

    def _reading(self, data: object) -> list[tuple[int, AnyShape, object]]:
        """The branches that read JSON as it stands; a dict that none reads was meant to name one."""
        try:
            return self._fitting(lambda branch: branch.parse(data))
        except Misfit as misfit:
            if not isinstance(data, dict):
                raise
            names = " or ".join(f'{{"{label(branch)}": ...}}' for _, branch in self._others)
            raise Misfit(f"{misfit.reason}; to name a branch, write {names}") from misfit

    def render(self, datum: object) -> Json:
        """See Shape."""
        branch, inner = self._part(datum)
        shown = branch.render(inner)
        return shown if datum is None or self._only is not None else {label(branch): shown}

    def default(self, datum: object) -> Json:
        """See Shape."""
        branch, inner = self._part(datum)
        return branch.default(inner)

    def undefault(self, default: object) -> object:
        """See Shape; Avro's default of a union is one of its first branch, and since 1.12 of any."""
        for index, branch in enumerate(self.branches):
            try:
                datum = branch.undefault(default)
            except Misfit:
                continue
            return datum if _is_null(branch) or self._only is not None else (index, datum)
        raise Misfit("is of none of the union's branches")


def _is_null(branch: AnyShape) -> bool:
    return branch.value_type is type(None)


def rank(branch: AnyShape) -> tuple[int, str]:
    """Where a branch stands in a union that is derived."""
    return _ORDER.index(kind_of(branch.schema(set()))), branch.name or ""


def label(branch: AnyShape) -> str:
    """Name a branch in tagged JSON: its full name, its logical type, or its kind."""
    if branch.name is not None:
        return branch.name
    avro = branch.schema(set())
    if isinstance(avro, dict):
        return str(avro.get("logicalType", avro["type"]))
    return str(avro)
