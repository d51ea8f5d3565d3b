"""The contract of a job type: what its payload must be, as its producers and workers know it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ..codec.bounds import require_bounded
from ..codec.codec import SINGLE_OBJECT, Codec
from ..codec.schema import NOT_A_SCHEMA, RecordSchema, Schema, avro_namespace, is_record_schema, unmarked
from ..errors import ContractRefused, Misfit, PayloadRefused
from ..json_data import JsonObject
from ..shapes.annotations import peeled
from ..shapes.derivation import Derivation
from ..shapes.given_schema import Given, owner_annotations
from ..shapes.records import RecordClass, RecordDatum, RecordShape, is_record
from ..shapes.signature import Parameter, parameters_of


class Contract:
    """The payload contract of one job type, derived from its function or given as `.avsc`.

    Attributes:
        job_type: the type's stable name.
        schema: the Avro schema, as plain JSON data.
        canonical: its Parsing Canonical Form.
        fingerprint: 8 bytes, CRC-64-AVRO, little-endian as in single-object encoding.
        header: what single-object encoding puts before a body: marker and fingerprint.
        codec: reads and writes bodies of this schema.
        encode: payload -> Avro body, without framing; the payload must come from `payload` or `from_json`.
        parameters, positional: names of the function's parameters in their order; of all, and of those that a call may
            give by position.
        defaults: {parameter: what makes the value that it has where a call leaves it out}.
    """

    __slots__ = (
        "_record",
        "_whole",
        "canonical",
        "codec",
        "defaults",
        "encode",
        "fingerprint",
        "header",
        "job_type",
        "parameters",
        "positional",
        "schema",
    )

    def __init__(
        self,
        *,
        job_type: str,
        schema: RecordSchema,
        record: RecordShape,
        parameters: list[Parameter],
        whole: str | None,
    ) -> None:
        """Join a schema and its shape; `whole` names the one parameter that takes the record itself."""
        self.job_type, self.schema, self._record = job_type, schema, record
        self._whole = whole
        self.parameters = tuple(parameter.name for parameter in parameters)
        self.positional = tuple(parameter.name for parameter in parameters if parameter.positional)
        self.defaults: Mapping[str, Callable[[], object]] = {} if whole is not None else record.default_values()
        self.codec = Codec(schema)
        require_bounded(self.codec)
        self.header = SINGLE_OBJECT + self.codec.fingerprint
        self.canonical, self.fingerprint, self.encode = self.codec.canonical, self.codec.fingerprint, self.codec.encode

    @classmethod
    def of_function(cls, function: Callable[..., object], *, job_type: str, namespace: str) -> Contract:
        """Derive the contract from a typed function.

        A single parameter that is a dataclass or a pydantic model is the payload's record itself; otherwise the
        record is named after the job type and has a field for each parameter.

        Raises:
            ContractRefused: a parameter cannot be part of a payload; it is named.
        """
        try:
            parameters = parameters_of(function)
            derivation = Derivation(avro_namespace(namespace))
            whole = _whole_record(parameters)
            record = derivation.record(whole) if whole else _parameter_record(derivation, job_type, parameters)
            return cls(
                job_type=job_type,
                schema=record.definition(set()),
                record=record,
                parameters=parameters,
                whole=parameters[0].name if whole else None,
            )
        except Misfit as misfit:
            raise ContractRefused(job_type, misfit.field, misfit.reason) from misfit

    @classmethod
    def of_avsc(
        cls,
        function: Callable[..., object],
        source: str | Path | Mapping[str, object],
        *,
        job_type: str,
        namespace: str,
    ) -> Contract:
        """Take the contract from an `.avsc` file, or from a schema as a dict.

        Fields match the function's parameters by name; a single parameter that is a dict, or a declared record, takes
        the record as a whole. `namespace` is used where the schema has none.

        Raises:
            ContractRefused: the schema and the function do not go together.
        """
        try:
            schema = _read_schema(source, avro_namespace(namespace))
            parameters = parameters_of(function)
            record, whole = _given(_codec(schema), parameters)
            return cls(job_type=job_type, schema=schema, record=record, parameters=parameters, whole=whole)
        except Misfit as misfit:
            raise ContractRefused(job_type, misfit.field, misfit.reason) from misfit

    def __repr__(self) -> str:
        return f"Contract({self.job_type!r}, {self.codec.name}, {self.fingerprint.hex()})"

    def payload(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> RecordDatum:
        """Bind the arguments of a call and check them, strictly, into a payload that `encode` takes.

        Raises:
            PayloadRefused: an argument is missing, unknown or of another type or range; its field is named.
        """
        try:
            if self._whole is not None:
                return self._record.check(self._whole_argument(self._whole, args, kwargs))
            return self._record.check_mapping(self._bound(args, kwargs) if args else kwargs)
        except Misfit as misfit:
            raise PayloadRefused(self.job_type, misfit.field, misfit.reason) from misfit

    def arguments(self, datum: RecordDatum) -> tuple[tuple[object, ...], dict[str, object]]:
        """Rebuild the arguments of a call from a decoded datum, which may become part of them.

        Raises:
            PayloadRefused: a class of the contract refuses the values it is built from.
        """
        try:
            if self._whole is not None:
                return (self._record.build(datum),), {}
            return (), self._record.built_fields(datum)
        except Misfit as misfit:
            raise PayloadRefused(self.job_type, misfit.field, misfit.reason) from misfit

    def from_json(self, data: object) -> RecordDatum:
        """Read a payload from JSON data as a person types it (ISO moments, decimals and UUIDs in quotes).

        Bytes are text (UTF-8) or `{"base64": "..."}`; a value of a union with several branches may be given as
        `{"<branch>": value}`.

        Raises:
            PayloadRefused: it does not fit the contract; the field is named.
        """
        try:
            return self._record.parse(data)
        except Misfit as misfit:
            raise PayloadRefused(self.job_type, misfit.field, misfit.reason) from misfit

    def to_json(self, datum: RecordDatum) -> JsonObject:
        """Show a payload as JSON data that `from_json` reads back to the same payload."""
        return self._record.render(datum)

    def type_at(self, parameter: str, *fields: str) -> Schema | None:
        """The Avro type of a parameter, or of a field inside of its records, optional ones too; None where none is."""
        path = fields if parameter == self._whole else (parameter, *fields)
        avro: Schema | None = self.codec.root
        for name in path:
            parts = avro["fields"] if avro is not None and is_record_schema(avro) else ()
            avro = next((self.codec.only_branch(part["type"]) for part in parts if part["name"] == name), None)
        return avro

    def _bound(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        if len(args) > len(self.positional):
            raise Misfit(f"takes {len(self.positional)} positional arguments, got {len(args)}")
        bound: dict[str, object] = dict(zip(self.positional, args))  # noqa: B905  # there may be fewer; `strict` costs time here
        if not kwargs:
            return bound
        for name in kwargs.keys() & bound.keys():
            raise Misfit("was given twice, by position and by name").within(name)
        return {**bound, **kwargs}

    def _whole_argument(self, name: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        bound = self._bound(args, kwargs) if args else kwargs
        for other in bound.keys() - {name}:
            raise Misfit(f"is not a parameter of the job, which takes {name!r} only").within(other)
        if name not in bound:
            raise Misfit(f"is missing: give the {self.codec.name} as {name!r}")
        return bound[name]


def _whole_record(parameters: list[Parameter]) -> RecordClass | None:
    if len(parameters) != 1:
        return None
    bare, _ = peeled(parameters[0].annotation)
    return bare if is_record(bare) else None


def _parameter_record(derivation: Derivation, job_type: str, parameters: list[Parameter]) -> RecordShape:
    fields = derivation.fields((parameter.name, parameter.annotation, parameter.default) for parameter in parameters)
    name = derivation.claim(job_type)
    return RecordShape(name, fields)


def _given(codec: Codec, parameters: list[Parameter]) -> tuple[RecordShape, str | None]:
    given, root = Given(codec), codec.root
    names = {field["name"] for field in root["fields"]} if is_record_schema(root) else set()
    whole = (
        _given_whole(given, root, parameters[0]) if len(parameters) == 1 and parameters[0].name not in names else None
    )
    if whole is not None:
        return whole, parameters[0].name
    annotations = {parameter.name: parameter.annotation for parameter in parameters}
    for odd in sorted(annotations.keys() ^ names):
        raise Misfit("is in the schema only" if odd in names else "is not in the schema").within(odd)
    return given.record(annotations, None), None


def _given_whole(given: Given, root: Schema, parameter: Parameter) -> RecordShape | None:
    """Shape the record for a parameter that takes it as a whole; None where the parameter cannot."""
    bare, _ = peeled(parameter.annotation)
    if is_record(bare) and is_record_schema(root):
        return given.record(owner_annotations(root, bare), bare)
    return given.record({}, None) if getattr(bare, "__origin__", bare) in (dict, Mapping) else None


def _codec(schema: RecordSchema) -> Codec:
    try:
        codec = Codec(schema)
    except NOT_A_SCHEMA as error:
        raise Misfit(f"has a schema that is not valid Avro: {error}") from error
    require_bounded(codec)
    return codec


def _read_schema(source: str | Path | Mapping[str, object], namespace: str) -> RecordSchema:
    schema: RecordSchema = (
        unmarked(dict(source)) if isinstance(source, Mapping) else json.loads(Path(source).read_text("utf-8"))
    )
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise Misfit("has a schema that is not a record; a payload is one record")
    if not isinstance(schema.get("name"), str):
        raise Misfit('has a schema without a name; give the record a "name"')
    if "." not in schema["name"] and not schema.get("namespace") and namespace:
        schema = {**schema, "namespace": namespace}
    return schema
