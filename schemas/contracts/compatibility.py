"""Whether a changed schema can live beside the versions before it, by Avro's rules of resolution."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..codec.codec import Codec
from ..codec.schema import (
    EnumSchema,
    FieldSchema,
    ObjectSchema,
    RecordSchema,
    Schema,
    is_named,
    is_record_schema,
    kind_of,
    logical_type,
)


class Compatibility(enum.StrEnum):
    """The rule between a new version of a contract and the versions before it.

    BACKWARD: the new contract reads what the last version wrote (deploy workers first). FORWARD: the last version
    reads what the new contract writes (deploy producers first). FULL: both. The transitive forms look at all
    versions, not only the last.
    """

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def is_transitive(self) -> bool:
        """Whether all earlier versions count."""
        return self.value.endswith("_TRANSITIVE")

    @property
    def reads_old(self) -> bool:
        """Whether the new contract must read old data."""
        return self.value.startswith(("BACKWARD", "FULL"))

    @property
    def read_by_old(self) -> bool:
        """Whether old contracts must read new data."""
        return self.value.startswith(("FORWARD", "FULL"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One place where a reader cannot take what a writer wrote.

    `field` is the dotted path, "" for the record itself. `by_value`: only some values break: data without
    them still resolve.
    """

    rule: str
    field: str
    explanation: str
    by_value: bool = False


PROMOTIONS: Final[dict[str, frozenset[str]]] = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}

_LOGICAL: Final = frozenset(
    {"decimal", "uuid", "date", "time-millis", "time-micros", "timestamp-millis", "timestamp-micros"}
    | {"local-timestamp-millis", "local-timestamp-micros", "duration"}
)


def check(old: Schema, new: Schema, mode: Compatibility) -> list[Break]:
    """Find every place where one version of a schema breaks a mode towards one other version."""
    found: list[Break] = []
    before, after = Codec(old), Codec(new)
    if mode.reads_old:
        found += [named(broken, "BACKWARD") for broken in unresolved(before, after)]
    if mode.read_by_old:
        found += [named(broken, "FORWARD") for broken in unresolved(after, before)]
    return found


def violations(versions: Sequence[Schema], new: Schema, mode: Compatibility) -> list[Break]:
    """Find every break of a new version towards the versions before it (oldest first), as the mode asks."""
    found = [collision for version in versions for collision in collisions(version, new)]
    for version in versions if mode.is_transitive else versions[-1:]:
        found += check(version, new, mode)
    return found


def collisions(old: Schema, new: Schema) -> list[Break]:
    """Find what makes two schemas differ that have one fingerprint.

    The canonical form leaves logical types out, so payloads of both carry the same fingerprint. A reader that decodes a
    decimal by the other's scale gets another number. No mode allows it.
    """
    before, after = Codec(old), Codec(new)
    if before.canonical != after.canonical:
        return []
    return [named(broken, "ANY MODE") for broken in unresolved(before, after)]


def named(broken: Break, direction: str) -> Break:
    """Say in the rule which direction is broken."""
    return dataclasses.replace(broken, rule=f"{direction} ({broken.rule})")


def unresolved(writer: Codec, reader: Codec) -> list[Break]:
    """Find every place where data of the writer's schema do not resolve to the reader's."""
    return list(_Resolution(writer, reader).breaks(writer.root, reader.root, ""))


class _Resolution:
    """Avro's rules of resolution over one pair of schemas."""

    def __init__(self, writer: Codec, reader: Codec) -> None:
        self._writer, self._reader = writer, reader
        self._seen: set[tuple[str, str]] = set()

    def breaks(self, writer: Schema, reader: Schema, path: str) -> Iterator[Break]:
        """Walk both schemas; `path` is the dotted field they stand at."""
        writer, reader = self._writer.follow(writer), self._reader.follow(reader)
        if isinstance(writer, list):
            return self._from_union(writer, reader, path)
        if isinstance(reader, list):
            return self._into_union(writer, reader, path)
        if not matches(writer, reader):
            return iter([_type_changed(writer, reader, path)])
        return self._same_kind(writer, reader, path)

    def _from_union(self, writer: list[Schema], reader: Schema, path: str) -> Iterator[Break]:
        broken = [list(self.breaks(branch, reader, path)) for branch in writer]
        lost = all(any(not found.by_value for found in branch) for branch in broken)
        for branch, found in zip(writer, broken, strict=True):
            for one in found:
                yield dataclasses.replace(
                    one, by_value=not lost, explanation=f"for {describe(branch)} values: {one.explanation}"
                )

    def _into_union(self, writer: Schema, reader: list[Schema], path: str) -> Iterator[Break]:
        branch = branch_for(writer, [self._reader.follow(branch) for branch in reader])
        if branch is None:
            yield Break(
                rule="union-branch",
                field=path,
                explanation=f"{describe(writer)} matches no branch of {describe(reader)}; add the branch",
            )
        else:
            yield from self.breaks(writer, branch, path)

    def _same_kind(self, writer: Schema, reader: Schema, path: str) -> Iterator[Break]:
        if is_record_schema(writer) and is_record_schema(reader):
            return self._records(writer, reader, path)
        if isinstance(writer, dict) and isinstance(reader, dict):
            return self._objects(writer, reader, path)
        return _logical(writer, reader, path)

    def _objects(self, writer: ObjectSchema, reader: ObjectSchema, path: str) -> Iterator[Break]:
        if writer["type"] == "array" and reader["type"] == "array":
            return self.breaks(writer["items"], reader["items"], path)
        if writer["type"] == "map" and reader["type"] == "map":
            return self.breaks(writer["values"], reader["values"], path)
        if writer["type"] == "enum" and reader["type"] == "enum":
            return _symbols(writer, reader, path)
        return _logical(writer, reader, path)

    def _records(self, writer: RecordSchema, reader: RecordSchema, path: str) -> Iterator[Break]:
        pair = (writer["name"], reader["name"])
        if pair in self._seen:
            return
        self._seen.add(pair)
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            where = f"{path}.{field['name']}" if path else field["name"]
            source = source_of(field, written)
            if source is not None:
                yield from self.breaks(written[source]["type"], field["type"], where)
            elif "default" not in field:
                yield Break(
                    rule="field-without-default",
                    field=where,
                    explanation="the reader needs it and the writer does not write it; give it a default (a "
                    "default_factory counts if it always makes the same value), or, if it was renamed, its former "
                    "name as an alias",
                )
        # The same pair of records elsewhere has other paths: it is only skipped inside itself.
        self._seen.discard(pair)


def source_of(field: FieldSchema, written: Container[str]) -> str | None:
    """Find the name under which a reader's field was written: its own, or one of its aliases."""
    names = [field["name"], *field.get("aliases", ())]
    return next((name for name in names if name in written), None)


def branch_for(writer: Schema, branches: Sequence[Schema]) -> Schema | None:
    """Find the branch of a reader's union for what the writer wrote: the same kind first, then a promotion."""
    exact = (branch for branch in branches if kind_of(branch) == kind_of(writer) and matches(writer, branch))
    promoted = (branch for branch in branches if matches(writer, branch))
    return next(exact, None) or next(promoted, None)


def matches(writer: Schema, reader: Schema) -> bool:
    """Tell whether two schemas match at their top: kind and name, or a promotion."""
    wrote, reads = kind_of(writer), kind_of(reader)
    if wrote != reads:
        return reads in PROMOTIONS.get(wrote, ())
    if not is_named(writer) or not is_named(reader):
        return True
    if writer["type"] == "fixed" and reader["type"] == "fixed" and writer["size"] != reader["size"]:
        return False
    short = writer["name"].rpartition(".")[2]
    aliases = reader.get("aliases", ())
    return short == reader["name"].rpartition(".")[2] or writer["name"] in aliases or short in aliases


def describe(schema: Schema) -> str:
    """Name a schema in a sentence."""
    if isinstance(schema, list):
        return "union of " + ", ".join(describe(branch) for branch in schema)
    if isinstance(schema, str):
        return schema
    logical, scale, precision = _meaning(schema)
    if logical == "decimal":
        return f"decimal({precision}, {scale})"
    return str(schema.get("name") or logical_type(schema) or kind_of(schema))


def _type_changed(writer: Schema, reader: Schema, path: str) -> Break:
    return Break(
        rule="type",
        field=path,
        explanation=f"{describe(writer)} is written, but the reader takes {describe(reader)}; "
        "add a new field, and leave this one as it was",
    )


def _symbols(writer: EnumSchema, reader: EnumSchema, path: str) -> Iterator[Break]:
    unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
    if unknown and not reader.get("default"):
        yield Break(
            rule="enum-symbol",
            field=path,
            explanation=f"the reader's {describe(reader)} does not know {', '.join(unknown)} and has no default",
            by_value=True,
        )


def _logical(writer: Schema, reader: Schema, path: str) -> Iterator[Break]:
    wrote, reads = _meaning(writer), _meaning(reader)
    widened = wrote[0] == reads[0] == "decimal" and wrote[1] == reads[1] and wrote[2] <= reads[2]
    if wrote != reads and not widened:
        yield Break(
            rule="logical-type",
            field=path,
            explanation=f"{describe(writer)} would be read as {describe(reader)}; "
            "add a new field, and leave this one as it was",
        )


def _meaning(schema: Schema) -> tuple[str, int, int]:
    """Reduce a logical type to what must agree: its name, scale and precision."""
    logical = logical_type(schema)
    if logical is None or logical not in _LOGICAL:
        return ("", 0, 0)
    if logical == "decimal" and isinstance(schema, dict) and (schema["type"] == "bytes" or schema["type"] == "fixed"):
        return ("decimal", schema.get("scale", 0), schema["precision"])
    return (logical, 0, 0)
