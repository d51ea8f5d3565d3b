"""Shapes of records: parameters of a function, dataclasses, pydantic models, or dicts under a given schema."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard

from pydantic import BaseModel, ValidationError

from ..codec.schema import FieldSchema, RecordSchema, Schema
from ..errors import Misfit
from ..json_data import JsonObject
from .shape import AnyShape, refuse_other

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RecordDatum: TypeAlias = dict[str, object]
"""The data of a record's fields by name."""
RecordClass: TypeAlias = "type[BaseModel] | type[DataclassInstance]"


@dataclass(frozen=True, slots=True)
class Absent:
    """The default of a field that has none; `why` goes on from "is missing, "."""

    why: str = "and has no default"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldShape:
    """One field of a record; `default` is a datum, or Absent; `aliases` are the names that it had before."""

    name: str
    shape: AnyShape
    default: object = ABSENT
    aliases: tuple[str, ...] = ()

    def avro(self, defined: set[str]) -> FieldSchema:
        """Return the field as an Avro schema has it."""
        field: FieldSchema = {"name": self.name, "type": self.shape.schema(defined)}
        if not isinstance(self.default, Absent):
            field["default"] = self.shape.default(self.default)
        if self.aliases:
            field["aliases"] = list(self.aliases)
        return field

    def fresh_default(self) -> object:
        """Return a default that no other payload shares."""
        return copy.deepcopy(self.default) if isinstance(self.default, list | dict | tuple) else self.default


class RecordShape:
    """A record; `owner` is the dataclass or model whose instances are the values, None when they are dicts."""

    def __init__(
        self,
        name: str,
        fields: Sequence[FieldShape],
        owner: RecordClass | None = None,
        avro: RecordSchema | None = None,
    ) -> None:
        self.name: str | None = name
        self._fields = {field.name: field for field in fields}
        self._names = self._fields.keys()
        self._checks = [(field.name, field.shape.check) for field in fields]
        self._builds = [(field.name, field.shape.build) for field in fields if not field.shape.plain]
        self._owner, self._avro = owner, avro
        self.value_type: type = owner or dict
        self._make = _maker(owner)
        self._is_model = owner is not None and issubclass(owner, BaseModel)
        self.plain = owner is None and not self._builds

    def schema(self, defined: set[str]) -> Schema:
        """See Shape."""
        name = str(self.name)
        if name in defined:
            return name
        return self.definition(defined)

    def definition(self, defined: set[str]) -> RecordSchema:
        """Return the schema where it is not defined yet."""
        name = str(self.name)
        defined.add(name)
        if self._avro is not None:
            return self._avro
        return {"type": "record", "name": name, "fields": [field.avro(defined) for field in self._fields.values()]}

    def check(self, value: object) -> RecordDatum:
        """See Shape."""
        if self._owner is None:
            if not isinstance(value, dict):
                raise refuse_other(value, "a dict")
            return self.check_mapping(value)
        # A subclass is refused as well: what it adds would be lost without a word.
        if type(value) is not self._owner:
            raise refuse_other(value, f"a {self._owner.__name__}")
        datum = self.check_mapping(_attributes(value, self._names))
        if self._is_model:
            self.build(datum)  # a model changed after its construction may no longer be one
        return datum

    def check_mapping(self, values: Mapping[str, object]) -> RecordDatum:
        """Check the values of all fields by name; missing ones take their defaults."""
        if values.keys() != self._names:
            return self._check_some(values)
        datum: RecordDatum = {}
        name = ""
        try:
            for name, check in self._checks:  # the handler needs the name too
                datum[name] = check(values[name])
        except Misfit as misfit:
            raise misfit.within(name) from misfit.__cause__
        return datum

    def _check_some(self, values: Mapping[str, object]) -> RecordDatum:
        return self._complete(values, lambda field, value: field.shape.check(value))

    def _complete(self, values: Mapping[str, object], step: Callable[[FieldShape, object], object]) -> RecordDatum:
        for name in values:
            if name not in self._fields:
                known = ", ".join(self._fields) or "none"
                raise Misfit(f"is not a field of the contract; its fields are: {known}").within(str(name))
        datum: RecordDatum = {}
        for name, field in self._fields.items():
            try:
                datum[name] = step(field, values[name]) if name in values else _default_of(field)
            except Misfit as misfit:
                raise misfit.within(name) from misfit.__cause__
        return datum

    def default_values(self) -> dict[str, Callable[[], object]]:
        """For each field with a default, what makes its value."""

        def maker(field: FieldShape) -> Callable[[], object]:
            return lambda: field.shape.build(field.fresh_default())

        return {name: maker(field) for name, field in self._fields.items() if not isinstance(field.default, Absent)}

    def build(self, datum: RecordDatum) -> object:
        """See Shape."""
        return self._make(self.built_fields(datum))

    def built_fields(self, datum: RecordDatum) -> dict[str, object]:
        """Turn the datum of each field into its value; the datum itself when there is nothing to turn."""
        if not self._builds:
            return datum
        values = dict(datum)
        name = ""
        try:
            for name, build in self._builds:  # the handler needs the name too
                values[name] = build(datum[name])
        except Misfit as misfit:
            raise misfit.within(name) from misfit.__cause__
        return values

    def parse(self, data: object) -> RecordDatum:
        """See Shape."""
        if not isinstance(data, dict):
            raise refuse_other(data, "an object")
        return self._complete(data, lambda field, value: field.shape.parse(value))

    def render(self, datum: RecordDatum) -> JsonObject:
        """See Shape."""
        return {name: field.shape.render(datum[name]) for name, field in self._fields.items()}

    def default(self, datum: RecordDatum) -> JsonObject:
        """See Shape."""
        return {name: field.shape.default(datum[name]) for name, field in self._fields.items()}

    def undefault(self, default: object) -> RecordDatum:
        """See Shape; a default may leave out fields that have their own."""
        if not isinstance(default, dict):
            raise refuse_other(default, "an object")
        return self._complete(default, lambda field, part: field.shape.undefault(part))


def _default_of(field: FieldShape) -> object:
    if isinstance(field.default, Absent):
        raise Misfit(f"is missing, {field.default.why}")
    return field.fresh_default()


def _attributes(value: object, names: Iterable[str]) -> dict[str, object]:
    try:
        return {name: getattr(value, name) for name in names}
    except AttributeError as error:
        raise Misfit(f"is an incomplete {type(value).__name__}: {error}") from error
    except Exception as error:  # a property is the user's own code, and may raise anything
        raise Misfit(f"is a {type(value).__name__} that cannot be read: {type(error).__name__}") from error


def _maker(owner: RecordClass | None) -> Callable[[dict[str, object]], object]:
    if owner is None:
        return dict
    if issubclass(owner, BaseModel):
        return lambda values: _make_model(owner, values)
    return lambda values: _make_instance(owner, values)


def _make_instance(owner: RecordClass, values: dict[str, object]) -> object:
    try:
        return owner(**values)
    except Exception as error:  # the user's own code checks its values here, and may raise anything
        raise Misfit(f"does not make a {owner.__name__}: {error}") from error


def _make_model(owner: type[BaseModel], values: dict[str, object]) -> BaseModel:
    try:
        return owner.model_validate(values, by_name=True, by_alias=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        misfit = Misfit(f"does not make a {owner.__name__}: {first['msg']}")
        for step in reversed(first["loc"]):
            misfit.within(step)
        raise misfit from error
    except Exception as error:  # validators are the user's own code, and may raise anything
        raise Misfit(f"does not make a {owner.__name__}: its validation raised {type(error).__name__}") from error


def is_record(annotation: object) -> TypeGuard[RecordClass]:
    """Tell whether a type is a declared record: a dataclass or a pydantic model."""
    return isinstance(annotation, type) and (dataclasses.is_dataclass(annotation) or issubclass(annotation, BaseModel))
