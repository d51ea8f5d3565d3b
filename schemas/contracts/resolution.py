"""Turn a datum as its writer wrote it into one of the reader's schema, by Avro's rules of resolution.

fastavro could resolve while it reads, but it fills defaults in as raw JSON (a decimal's default stays text) and
shares one list among all the records it fills in, so the resolving is done here, on the datum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias, TypeVar

from ..codec.codec import Codec
from ..codec.schema import EnumSchema, ObjectSchema, RecordSchema, Schema, is_record_schema, is_tagged, kind_of
from ..errors import Misfit
from ..shapes.given_schema import Given
from ..shapes.records import FieldShape, RecordDatum
from .compatibility import branch_for, describe, matches, source_of

T = TypeVar("T")

Convert: TypeAlias = Callable[[Any], Any]
"""Makes a datum of one schema out of a datum of another. Their types are `Any`: the schemas decide them at run time."""


def same(datum: T) -> T:
    """Leave a datum as it is."""
    return datum


class Resolver:
    """Converts data of one writer's schema into data of one reader's schema, which statically resolve."""

    def __init__(self, writer: Codec, reader: Codec) -> None:
        self._writer, self._reader = writer, reader
        self._given = Given(reader)
        self._convert = self._step(writer.root, reader.root)

    def __call__(self, datum: RecordDatum) -> RecordDatum:
        """Convert one datum.

        Raises:
            Misfit: this value does not resolve (a union's branch, or an enum's symbol, that the reader does not know).
        """
        converted: RecordDatum = self._convert(datum)
        return converted

    def _step(self, writer: Schema, reader: Schema) -> Convert:
        writer, reader = self._writer.follow(writer), self._reader.follow(reader)
        if isinstance(writer, list):
            return self._from_union(writer, reader)
        if isinstance(reader, list):
            return self._into_union(writer, reader)
        if not matches(writer, reader):
            return _never(writer, reader)
        return self._same_kind(writer, reader)

    def _from_union(self, writer: list[Schema], reader: Schema) -> Convert:
        steps = [self._step(branch, reader) for branch in writer]
        of_none = steps[writer.index("null")] if "null" in writer else same
        if is_tagged(writer):
            return lambda datum: of_none(None) if datum is None else steps[datum[0]](datum[1])
        of_other = next((step for step, branch in zip(steps, writer, strict=True) if branch != "null"), same)
        return lambda datum: of_none(None) if datum is None else of_other(datum)

    def _into_union(self, writer: Schema, reader: list[Schema]) -> Convert:
        branches = [self._reader.follow(branch) for branch in reader]
        branch = branch_for(writer, branches)
        if branch is None:
            return _never(writer, reader)
        step = self._step(writer, branch)
        if branch == "null" or not is_tagged(reader):
            return step
        index = next(index for index, other in enumerate(branches) if other is branch)
        return lambda datum: (index, step(datum))

    def _same_kind(self, writer: Schema, reader: Schema) -> Convert:
        if is_record_schema(writer) and is_record_schema(reader):
            return self._record(writer, reader)
        if isinstance(writer, dict) and isinstance(reader, dict):
            return self._object(writer, reader)
        return _promotion(kind_of(writer), kind_of(reader))

    def _object(self, writer: ObjectSchema, reader: ObjectSchema) -> Convert:
        if writer["type"] == "array" and reader["type"] == "array":
            return _each(self._step(writer["items"], reader["items"]))
        if writer["type"] == "map" and reader["type"] == "map":
            return _each_value(self._step(writer["values"], reader["values"]))
        if writer["type"] == "enum" and reader["type"] == "enum":
            return _symbol(writer, reader)
        return _promotion(kind_of(writer), kind_of(reader))

    def _record(self, writer: RecordSchema, reader: RecordSchema) -> Convert:
        written = {field["name"]: field for field in writer["fields"]}
        taken: list[tuple[str, str, Convert]] = []
        defaults: list[FieldShape] = []
        for field in reader["fields"]:
            source = source_of(field, written)
            if source is None:
                defaults.append(self._given.field(field, None))
            else:
                taken.append((field["name"], source, self._step(written[source]["type"], field["type"])))

        def convert(datum: RecordDatum) -> RecordDatum:
            done: RecordDatum = {}
            for name, source, step in taken:
                try:
                    done[name] = step(datum[source])
                except Misfit as misfit:
                    raise misfit.within(name) from misfit.__cause__
            for field in defaults:
                done[field.name] = field.fresh_default()
            return done

        return convert


def _never(writer: Schema, reader: Schema) -> Convert:
    def convert(datum: object) -> NoReturn:
        raise Misfit(f"holds {describe(writer)}, which {describe(reader)} does not take")

    return convert


def _each(step: Convert) -> Convert:
    return same if step is same else lambda items: [step(item) for item in items]


def _each_value(step: Convert) -> Convert:
    return same if step is same else lambda parts: {key: step(part) for key, part in parts.items()}


def _symbol(writer: EnumSchema, reader: EnumSchema) -> Convert:
    known, default = frozenset(reader["symbols"]), reader.get("default")
    if known.issuperset(writer["symbols"]):
        return same

    def convert(symbol: str) -> str:
        if symbol in known:
            return symbol
        if default is None:
            raise Misfit(f"holds the symbol {symbol}, which {describe(reader)} does not know")
        return str(default)

    return convert


def _promotion(wrote: str, reads: str) -> Convert:
    if wrote in {"int", "long"} and reads in {"float", "double"}:
        return float
    if (wrote, reads) == ("string", "bytes"):
        return lambda text: text.encode()
    if (wrote, reads) == ("bytes", "string"):
        return _text
    return same


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Misfit("holds bytes that are not UTF-8, where the reader takes text") from error
