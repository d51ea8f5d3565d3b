"""From the bytes of a record's value to a datum of the reader's contract, for any writer's schema."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from .codec.bounds import require_bounded
from .codec.codec import CONFLUENT, FINGERPRINT_BYTES, REGISTRY_ID_BYTES, SINGLE_OBJECT, Codec
from .codec.schema import NOT_A_SCHEMA
from .contracts.compatibility import Break, unresolved
from .contracts.contract import Contract
from .contracts.resolution import Resolver
from .errors import Misfit, SchemaMismatch, StoreError, Undecodable, UnknownSchema
from .json_data import JsonObject
from .shapes.given_schema import Given
from .shapes.records import RecordDatum
from .stores.store import SchemaStore, StoredSchema

_SINGLE_HEADER_BYTES: Final = len(SINGLE_OBJECT) + FINGERPRINT_BYTES
_CONFLUENT_HEADER_BYTES: Final = len(CONFLUENT) + REGISTRY_ID_BYTES
_HIGHEST_REGISTRY_ID: Final = 2**31 - 1

# A flood of payloads with unknown schemas must not become a flood of questions to the brokers.
_REFRESH_EVERY_S: Final = 1.0
_REFRESH_TIMEOUT_S: Final = 5.0

Learn = Callable[[bytes | int], None]
"""Has the store learn the schema of a frame, if it is to be had."""


class Decoder:
    """Reads payloads for contracts; may be called from several threads at once."""

    def __init__(
        self, store: SchemaStore, *, clock: Callable[[], float] = time.monotonic, learn: Learn | None = None
    ) -> None:
        """Read with the writers' schemas of `store`.

        Args:
            clock: seconds that only grow.
            learn: called before a schema counts as unknown; None asks the store at once, and waits for it.
        """
        self._store = store
        self._learn = learn or _AskingAtOnce(store, clock).learn
        self._readers: dict[tuple[Contract, bytes | int], _Reader] = {}
        self._places: dict[Contract, int] = {}

    def note_version_order(self, contract: Contract) -> None:
        """Note that a contract which may never be registered comes after the versions that the store knows by now."""
        self._places[contract] = len(self._store.versions(contract.job_type))

    def decode(self, contract: Contract, value: bytes | None) -> RecordDatum:
        """Read a record's value as a datum of the contract's schema.

        Raises:
            Undecodable: the bytes are not a payload in a known framing, or not one of the schema they name.
            UnknownSchema: they name a schema that the store does not hold, even after it was asked; or so many schemas
                are asked for already that the store was not asked for this one.
            SchemaMismatch: the writer's schema, or this value, does not resolve to the contract's.
            StoreError: whether the store holds the schema is unknown, since it could not be asked.
        """
        if value is not None and value.startswith(contract.header):
            return contract.codec.decode(value, _SINGLE_HEADER_BYTES)
        framed, frame_id, start = _frame(value)
        reader = self._readers.get((contract, frame_id)) or self._make_reader(contract, frame_id)
        try:
            return reader.read(framed, start)
        except Misfit as misfit:
            newer = self._is_newer(contract, frame_id)
            raise SchemaMismatch(misfit.field, misfit.reason, newer) from misfit

    def decode_as_written(self, value: bytes | None, job_type: str = "") -> tuple[StoredSchema, JsonObject]:
        """Read a value by its writer's schema alone, for tools without a contract at hand.

        Args:
            job_type: that of the job, where it is known: two types may mean different things by one schema.

        Returns:
            The schema as the store holds it, and the payload as JSON data (see Contract.to_json).

        Raises:
            Undecodable, UnknownSchema, SchemaMismatch, StoreError: see `decode`.
        """
        framed, frame_id, start = _frame(value)
        stored = self._version(job_type, frame_id)
        try:
            codec = _writer_codec(stored)
            return stored, Given(codec).record({}, None).render(codec.decode(framed, start))
        except Misfit as misfit:
            raise SchemaMismatch(misfit.field, misfit.reason, newer=False) from misfit

    def _make_reader(self, contract: Contract, frame_id: bytes | int) -> _Reader:
        reader = _Reader.between(self._version(contract.job_type, frame_id), contract)
        self._readers[contract, frame_id] = reader
        return reader

    def _version(self, job_type: str, frame_id: bytes | int) -> StoredSchema:
        """The writer's schema: that of the job type first.

        A fingerprint leaves logical types out. Another job type may mean another thing by it: a number of seconds, say,
        where this one means an instant.
        """
        known = self._known(frame_id)
        own = (version for version in self._store.versions(job_type) if version.frame_id == frame_id)
        return next(own, known)

    def _known(self, frame_id: bytes | int) -> StoredSchema:
        stored = self._store.writer_schema(frame_id)
        if stored is not None:
            return stored
        if isinstance(frame_id, int) and not self._store.knows_registry_ids:
            raise Undecodable("it begins as Confluent framing does, and no Schema Registry is configured")
        self._learn(frame_id)
        stored = self._store.writer_schema(frame_id)
        if stored is None:
            raise UnknownSchema(frame_id)
        return stored

    def _is_newer(self, contract: Contract, frame_id: bytes | int) -> bool:
        """Tell whether the writer's schema comes after the contract's among the versions of the job type.

        A contract that was never registered has its place after the versions that were there before it. Where nobody
        has noted that place, "newer" is the answer that loses nothing: the job is deferred.
        """
        order = [_canonical(version) for version in self._store.versions(contract.job_type)]
        writer = _canonical(self._known(frame_id))
        if writer is None or writer not in order:
            return False
        known = contract.canonical in order
        return order.index(writer) >= (order.index(contract.canonical) + 1 if known else self._places.get(contract, 0))


class _AskingAtOnce:
    """Has the store learn a schema while the caller waits."""

    def __init__(self, store: SchemaStore, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._asked_at_s: dict[bytes | int, float] = {}
        self._failure: StoreError | None = None

    def learn(self, frame_id: bytes | int) -> None:
        """Refresh the store, unless that was done within a second.

        Raises:
            StoreError: the store did not answer, now or within the last second.
        """
        # Others wait here for the one that asks, so that a new schema costs none of them its job.
        with self._lock:
            if self._store.writer_schema(frame_id) is not None:
                return
            # An id of a registry is learned alone, fingerprints all together.
            question = frame_id if isinstance(frame_id, int) else b""
            if self._is_due(question):
                self._refresh(question)
            elif self._failure is not None:
                raise self._failure

    def _is_due(self, question: bytes | int) -> bool:
        now_s = self._clock()
        self._asked_at_s = {what: at_s for what, at_s in self._asked_at_s.items() if now_s - at_s < _REFRESH_EVERY_S}
        return question not in self._asked_at_s and (self._failure is None or not self._asked_at_s)

    def _refresh(self, question: bytes | int) -> None:
        self._failure = None
        try:
            self._store.refresh(_REFRESH_TIMEOUT_S)
        except StoreError as error:
            self._failure = error
            raise
        finally:
            self._asked_at_s[question] = self._clock()


class _Reader:
    """Reads what one writer's schema wrote, for one contract."""

    __slots__ = ("_broken", "_codec", "_resolve")

    def __init__(self, codec: Codec, resolve: Resolver | None, broken: Break | None) -> None:
        self._codec, self._resolve, self._broken = codec, resolve, broken

    @classmethod
    def between(cls, stored: StoredSchema, contract: Contract) -> _Reader:
        """Prepare the reading once for a pair of schemas, whether it is possible or not."""
        try:
            writer = _writer_codec(stored)
        except Misfit as misfit:
            broken = Break(rule="schema", field=misfit.field, explanation=misfit.reason)
            return cls(contract.codec, None, broken)
        lasting = [found for found in unresolved(writer, contract.codec) if not found.by_value]
        if lasting:
            return cls(writer, None, lasting[0])
        return cls(writer, None if _is_same(writer, contract.codec) else Resolver(writer, contract.codec), None)

    def read(self, value: bytes, start: int) -> RecordDatum:
        """Read one datum, or raise Undecodable, or Misfit where it does not resolve."""
        if self._broken is not None:
            misfit = Misfit(self._broken.explanation)
            raise misfit.within(self._broken.field) if self._broken.field else misfit
        datum = self._codec.decode(value, start)
        return datum if self._resolve is None else self._resolve(datum)


def _is_same(writer: Codec, reader: Codec) -> bool:
    return writer.canonical == reader.canonical


def _canonical(stored: StoredSchema) -> str | None:
    """The schema's canonical form; None where what is stored is no schema."""
    try:
        return Codec(stored.schema).canonical
    except NOT_A_SCHEMA:
        return None


def _writer_codec(stored: StoredSchema) -> Codec:
    try:
        codec = Codec(stored.schema)
        require_bounded(codec)
    except NOT_A_SCHEMA as error:
        raise Misfit(f"was written with a stored schema that is not valid Avro: {error}") from error
    codec.prepare_reading()
    return codec


def _frame(value: bytes | None) -> tuple[bytes, bytes | int, int]:
    """Take a frame apart into (value, frame id, where the body starts)."""
    if value is None:
        raise Undecodable("the record has no value (a tombstone)")
    if value.startswith(SINGLE_OBJECT) and len(value) >= _SINGLE_HEADER_BYTES:
        return value, value[len(SINGLE_OBJECT) : _SINGLE_HEADER_BYTES], _SINGLE_HEADER_BYTES
    if value.startswith(CONFLUENT) and len(value) >= _CONFLUENT_HEADER_BYTES:
        return value, _registry_id(value[len(CONFLUENT) : _CONFLUENT_HEADER_BYTES]), _CONFLUENT_HEADER_BYTES
    if value.startswith((SINGLE_OBJECT, CONFLUENT)):
        raise Undecodable(f"the header is cut off after {len(value)} bytes")
    raise Undecodable(
        f"the first bytes ({value[:2].hex() or 'none'}) are those of no framing: C3 01 or 00 was expected"
    )


def _registry_id(encoded: bytes) -> int:
    """Read an id. One that no registry gives is not asked for: the answer to that is none of those for unknown ids."""
    number = int.from_bytes(encoded, "big")
    if number > _HIGHEST_REGISTRY_ID:
        raise Undecodable(f"it names the schema id {number}, which is above the highest that a registry gives")
    return number
