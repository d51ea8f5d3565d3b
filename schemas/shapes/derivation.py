"""Find the shape of a Python type: what Avro schema it has, the same on every machine, or why it has none.

Written here because the library for it (py-avro-schema) merges two classes of one name without a word, emits unions
that Avro forbids, writes defaults no reader understands, and refuses Enums of numbers.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from ..codec.schema import avro_name, kind_of
from ..errors import Misfit
from . import logical, primitives
from .annotations import Digits, digits_of, former_names, peeled
from .compound import ArrayShape, EnumShape, MapShape
from .declared_fields import DeclaredField, Factory, record_fields
from .records import Absent, FieldShape, RecordClass, RecordShape, is_record
from .shape import AnyScalar, AnyShape, D, Shape, is_same
from .unions import UnionShape, label, rank

C = TypeVar("C", bound=type)

_SCALARS: dict[type | None, AnyScalar] = {
    None: primitives.NULL,
    type(None): primitives.NULL,
    bool: primitives.BOOLEAN,
    int: primitives.LONG,
    float: primitives.DOUBLE,
    str: primitives.STRING,
    bytes: primitives.BYTES,
    date: logical.DATE,
    datetime: logical.MOMENT,
    time: logical.CLOCK,
    UUID: logical.UUID_TEXT,
}

_LISTS = frozenset({list, collections.abc.Sequence, collections.abc.MutableSequence})
_MAPS = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})
_UNIONS = frozenset({Union, types.UnionType})

_INSTEAD: dict[object, str] = {
    Any: "name the type: a contract is what other programs rely on",
    object: "name the type: a contract is what other programs rely on",
    timedelta: "use a float of seconds, or an int of milliseconds",
    set: "use a list, which has an order on the wire",
    frozenset: "use a list, which has an order on the wire",
    list: "name what is in it, as list[str]",
    dict: "name what is in it, as dict[str, int]",
    tuple: "use tuple[X, ...], a list, or a dataclass",
    complex: "use two floats",
}


class Constrained(Generic[D]):
    """A shape whose values must also meet the constraints of their annotation, as in `Annotated[int, Field(gt=0)]`."""

    def __init__(self, shape: Shape[D], adapter: TypeAdapter[object]) -> None:
        self._shape, self._adapter = shape, adapter
        self.name, self.value_type, self.plain = shape.name, shape.value_type, shape.plain
        self.schema, self.build, self.render = shape.schema, shape.build, shape.render
        self.default, self.undefault = shape.default, shape.undefault

    def check(self, value: object) -> D:
        """See Shape."""
        datum = self._shape.check(value)
        self._require(value)
        return datum

    def parse(self, data: object) -> D:
        """See Shape."""
        datum = self._shape.parse(data)
        self._require(self._shape.build(datum))
        return datum

    def leading(self, datum: D) -> AnyShape:
        """See UnionShape."""
        return Constrained(leading(self._shape, datum), self._adapter)

    def _require(self, value: object) -> None:
        try:
            self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            raise Misfit(f"breaks its constraint: {error.errors(include_url=False)[0]['msg']}") from error
        except Exception as error:  # a validator is the user's own code, and may raise anything
            raise Misfit(f"could not be held against its constraint, which raised {type(error).__name__}") from error


def _adapter(bare: object, rules: Sequence[object]) -> TypeAdapter[object]:
    annotation: Any = Annotated[bare, *rules]  # made as the program runs, of a type that only then is known
    try:
        return TypeAdapter(annotation)
    except (TypeError, PydanticUserError) as error:
        raise Misfit(f"has a constraint that pydantic does not take: {error}") from error


def leading(shape: AnyShape, datum: object) -> AnyShape:
    """Order the branches of a union so that its default may stand in a schema."""
    return shape.leading(datum) if isinstance(shape, UnionShape | Constrained) else shape


class Derivation:
    """Derives the shapes of one contract; all named types get the contract's namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._shapes: dict[str, tuple[type, AnyShape | None]] = {}

    def full_name(self, name: str) -> str:
        """Put a type's name into the contract's namespace."""
        return f"{self._namespace}.{avro_name(name)}" if self._namespace else avro_name(name)

    def shape(self, annotation: object) -> AnyShape:
        """Find the shape of a type.

        Raises:
            Misfit: it has none, or not an unambiguous one.
        """
        bare, metadata = peeled(annotation)
        shape = _decimal(metadata) if bare is Decimal else self._bare(bare)
        rules = [part for part in metadata if type(part).__module__.split(".")[0] in {"annotated_types", "pydantic"}]
        return Constrained(shape, _adapter(bare, rules)) if rules else shape

    def fields(self, parts: Iterable[DeclaredField]) -> list[FieldShape]:
        """Find the shapes of a record's fields.

        Raises:
            Misfit: one has no shape, or two claim one name.
        """
        found = [self.field(*part) for part in parts]
        taken = {field.name for field in found}
        for field in found:
            for alias in field.aliases:
                if alias in taken:
                    raise Misfit(f"has the alias {alias!r}, which another field has").within(field.name)
                taken.add(alias)
        return found

    def field(self, name: str, annotation: object, default: object) -> FieldShape:
        """Find the shape of a parameter or field; `default` is its Python value, a Factory, or Absent."""
        try:
            if avro_name(name) != name:
                raise Misfit("is not a name that Avro allows (ASCII letters, digits and _)")
            shape = self.shape(annotation)
            if isinstance(default, Factory):
                default = default.constant(shape)
            field = (
                FieldShape(name=name, shape=shape, default=default)
                if isinstance(default, Absent)
                else _with_default(name, leading(shape, shape.check(default)), default)
            )
            return dataclasses.replace(field, aliases=former_names(annotation))
        except Misfit as misfit:
            raise misfit.within(name) from misfit.__cause__

    def claim(self, job_type: str) -> str:
        """Name the record of a function's parameters after its job type."""
        name = self.full_name(job_type)
        if name in self._shapes:
            raise Misfit(f"uses a class named {avro_name(job_type)}, as the payload's own record; rename the class")
        return name

    def record(self, owner: RecordClass) -> RecordShape:
        """Find the shape of a declared record, once for each class."""
        shape = self._named(owner, self._record)
        assert isinstance(shape, RecordShape)
        return shape

    def _bare(self, bare: object) -> AnyShape:
        scalar = _SCALARS.get(bare) if isinstance(bare, type) or bare is None else None
        if scalar is not None:
            return scalar
        if get_origin(bare) is not None and not is_record(bare):
            return self._composed(get_origin(bare), get_args(bare))
        if isinstance(bare, type) and issubclass(bare, enum.Enum):
            return self._named(bare, self._enum)
        if is_record(bare):
            return self.record(bare)
        raise _without_form(bare)

    def _composed(self, origin: object, args: tuple[object, ...]) -> AnyShape:
        if origin in _UNIONS:
            return self._union([self.shape(arg) for arg in args])
        if origin is Literal:
            return _literal(args)
        if origin in _LISTS:
            return ArrayShape(self.shape(args[0]))
        if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
            return ArrayShape(self.shape(args[0]), tuple)
        if origin in _MAPS:
            if args[0] is not str:
                raise Misfit("is a mapping whose keys are not str, which Avro has no form for")
            return MapShape(self.shape(args[1]))
        shown, instead = getattr(origin, "__name__", str(origin)), _INSTEAD.get(origin, "use a list")
        raise Misfit(f"has type {shown}, which Avro has no form for; {instead}")

    def _union(self, branches: Sequence[AnyShape]) -> UnionShape:
        taken: dict[str, AnyShape] = {}
        branches = [part for branch in branches for part in _parts(branch)]
        for branch in branches:
            kind = branch.name or kind_of(branch.schema(set()))
            if kind in taken:
                raise Misfit(
                    f"is a union of {label(taken[kind])} and {label(branch)}, which are both {kind} on the wire and "
                    "could not be distinguished; use two optional parameters, or wrap them in dataclasses"
                )
            taken[kind] = branch
        return UnionShape(sorted(branches, key=rank))

    def _named(self, owner: C, make: Callable[[C, str], AnyShape]) -> AnyShape:
        name = self.full_name(owner.__name__)
        known, shape = self._shapes.get(name, (owner, None))
        if known is not owner:
            raise Misfit(f"uses two different classes named {owner.__name__}; rename one, names are the wire contract")
        if shape is None:
            if name in self._shapes:
                raise Misfit(f"uses {owner.__name__} inside itself; a job's payload must have a bounded depth")
            self._shapes[name] = (owner, None)
            shape = make(owner, name)
            self._shapes[name] = (owner, shape)
        return shape

    def _enum(self, owner: type[enum.Enum], name: str) -> EnumShape:
        symbols = [member.name for member in owner]
        if issubclass(owner, enum.Flag) or not symbols:
            raise Misfit(f"has type {owner.__name__}, whose members Avro cannot list; use a list of an Enum's members")
        for symbol in symbols:
            if avro_name(symbol) != symbol:
                raise Misfit(f"has an Enum member {symbol!r}, which is not a name that Avro allows")
        return EnumShape(name, symbols, owner, None)

    def _record(self, owner: RecordClass, name: str) -> RecordShape:
        return RecordShape(name, self.fields(record_fields(owner)), owner)


def _without_form(bare: object) -> Misfit:
    shown = getattr(bare, "__name__", None) or str(bare)
    instead = _INSTEAD.get(bare) if isinstance(bare, collections.abc.Hashable) else None
    return Misfit(f"has type {shown}, which Avro has no form for" + (f"; {instead}" if instead else ""))


def _decimal(metadata: Sequence[object]) -> AnyShape:
    digits = Digits(**digits_of(metadata))
    return logical.decimal(digits.precision, digits.scale)


def _literal(values: tuple[object, ...]) -> AnyShape:
    kinds = {type(value) for value in values}
    if kinds not in ({str}, {int}):
        raise Misfit("is a Literal of other things than only str or only int; use an Enum")
    plain: AnyScalar = primitives.STRING if kinds == {str} else primitives.LONG

    def check(value: object) -> str | int:
        datum: str | int = plain.check(value)
        if datum not in values:
            raise Misfit(f"must be one of {', '.join(map(repr, values))}")
        return datum

    return dataclasses.replace(plain, check=check, parse=check)


def _parts(branch: AnyShape) -> list[AnyShape]:
    """Take a union inside of a union apart, as an alias of one is."""
    if isinstance(branch, UnionShape):
        return branch.branches
    if isinstance(branch.schema(set()), list):
        raise Misfit("has a constraint on a union that is part of another; put it on a branch, or on the whole")
    return [branch]


def _with_default(name: str, shape: AnyShape, default: object) -> FieldShape:
    """Make a field whose default, as the schema has it, is read as what was declared."""
    datum = shape.check(default)
    if not is_same(shape.undefault(shape.default(datum)), datum):
        raise Misfit("has a default that a schema cannot distinguish from another value; leave it out, or make it None")
    return FieldShape(name=name, shape=shape, default=datum)
