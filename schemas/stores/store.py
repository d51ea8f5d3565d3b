"""What a schema store offers, and a store in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from ..codec.avro import Codec
from ..contracts.compatibility import Compatibility, violations
from ..contracts.contract import Contract
from ..errors import IncompatibleSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSchema:
    """One version of a job type's schema, as a store holds it.

    `frame_id` is what the frames of its payloads carry: the 8-byte fingerprint, or a registry's id (which keeps no
    time of registration).
    """

    job_type: str
    frame_id: bytes | int
    schema: dict[str, Any]
    registered_at: datetime | None


class SchemaStore(Protocol):
    """Where the writers' schemas are kept for the readers. Safe to call from several threads.

    `knows_registry_ids` says whether a Schema Registry's ids, which Confluent framing carries, can mean anything here.
    """

    @property
    def knows_registry_ids(self) -> bool: ...

    def register(self, contract: Contract, compatibility: Compatibility) -> None:
        """Make the contract known, once; later calls do nothing.

        Raises:
            IncompatibleSchema: it breaks the compatibility with the versions the store holds.
            StoreError: the store is missing or did not answer in time.
        """

    def require_registrable(self, contract: Contract, compatibility: Compatibility) -> None:
        """Refuse what `register` would refuse, beside the versions learned so far; nothing is registered.

        Raises:
            IncompatibleSchema: as `register`.
            StoreError: the store is missing or did not answer in time.
        """

    def frame(self, contract: Contract, body: bytes) -> bytes:
        """Put the header of the store's framing before a body; the contract is registered."""

    def writer_schema(self, frame_id: bytes | int) -> StoredSchema | None:
        """Return the schema a frame names, from memory; None when the store has not seen it (yet)."""

    def versions(self, job_type: str) -> Sequence[StoredSchema]:
        """List the versions of a job type that are known, oldest first."""

    def refresh(self, timeout_s: float) -> None:
        """Learn what others have registered: all of the pipeline's types, and what `writer_schema` did not know.

        Raises:
            StoreError: the store is missing or did not answer in time.
        """

    def close(self) -> None:
        """Let go of connections; calling it twice is harmless."""


class MemoryBook:
    """The versions a store knows, by job type and by frame id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[bytes | int, StoredSchema] = {}
        self._by_type: dict[str, dict[bytes | int, StoredSchema]] = {}

    def add(self, stored: StoredSchema) -> None:
        """Note a version; one that is known keeps its place."""
        with self._lock:
            self._by_type.setdefault(stored.job_type, {}).setdefault(stored.frame_id, stored)
            self._by_id.setdefault(stored.frame_id, stored)

    def also(self, frame_id: bytes | int, stored: StoredSchema) -> None:
        """Note another id under which a version may be met."""
        self._by_id.setdefault(frame_id, stored)

    def get(self, frame_id: bytes | int) -> StoredSchema | None:
        """Find a version by the id its frames carry."""
        return self._by_id.get(frame_id)

    def versions(self, job_type: str) -> list[StoredSchema]:
        """List a job type's versions in the order they were added."""
        with self._lock:
            return list(self._by_type.get(job_type, {}).values())


def require_compatible(contract: Contract, versions: Iterable[StoredSchema], mode: Compatibility) -> None:
    """Refuse a contract that breaks the mode, naming the first break.

    Raises:
        IncompatibleSchema: see there.
    """
    for found in violations([version.schema for version in versions], contract.schema, mode):
        raise IncompatibleSchema(contract.job_type, found.rule, found.field, found.explanation)


def registered(contract: Contract, versions: Iterable[StoredSchema]) -> StoredSchema | None:
    """Find the version that a contract already is; it needs no check again, whatever came after it.

    Raises:
        IncompatibleSchema: a version has the contract's fingerprint, but means something else by it.
    """
    for version in versions:
        if Codec(version.schema).canonical == contract.canonical:
            require_compatible(contract, [version], Compatibility.NONE)
            return version
    return None


def require_registrable(contract: Contract, versions: Sequence[StoredSchema], mode: Compatibility) -> None:
    """Refuse a contract that is none of the versions and breaks the mode towards them.

    Raises:
        IncompatibleSchema: see there.
    """
    if registered(contract, versions) is None:
        require_compatible(contract, versions, mode)


def single_object(contract: Contract, body: bytes) -> bytes:
    """Frame a body by Avro's single-object encoding: C3 01, fingerprint, body."""
    return contract.header + body


class MemorySchemaStore:
    """A store inside the process, with single-object framing: for tests, and for looking at schemas offline."""

    knows_registry_ids: Final = True

    def __init__(self) -> None:
        self._book = MemoryBook()

    def register(self, contract: Contract, compatibility: Compatibility = Compatibility.BACKWARD) -> None:
        """See SchemaStore."""
        versions = self.versions(contract.job_type)
        if registered(contract, versions) is None:
            require_compatible(contract, versions, compatibility)
            self._book.add(stored_now(contract))

    def require_registrable(self, contract: Contract, compatibility: Compatibility) -> None:
        """See SchemaStore."""
        require_registrable(contract, self.versions(contract.job_type), compatibility)

    def frame(self, contract: Contract, body: bytes) -> bytes:
        """See SchemaStore."""
        return single_object(contract, body)

    def writer_schema(self, frame_id: bytes | int) -> StoredSchema | None:
        """See SchemaStore."""
        return self._book.get(frame_id)

    def versions(self, job_type: str) -> Sequence[StoredSchema]:
        """See SchemaStore."""
        return self._book.versions(job_type)

    def refresh(self, timeout_s: float) -> None:
        """See SchemaStore; nobody else can have registered anything."""

    def close(self) -> None:
        """See SchemaStore."""


def stored_now(contract: Contract) -> StoredSchema:
    """Describe a contract as the version it becomes when it is registered now."""
    return StoredSchema(
        job_type=contract.job_type,
        frame_id=contract.fingerprint,
        schema=contract.schema,
        registered_at=datetime.now(UTC),
    )
