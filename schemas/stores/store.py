"""`SchemaStore`, and one version that it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..codec.schema import Schema
from ..contracts.compatibility import Compatibility
from ..contracts.contract import Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSchema:
    """One version of a job type's schema, as a store holds it.

    `frame_id` is what the frames of its payloads carry: the 8-byte fingerprint, or a registry's id (which keeps no
    time of registration).
    """

    job_type: str
    frame_id: bytes | int
    schema: Schema
    registered_at: datetime | None


Recorded = Callable[[Contract, Sequence[StoredSchema]], AbstractContextManager[None]]
"""Puts the registration of a contract on record, beside the versions before it; it is written inside of the block."""


def unrecorded(contract: Contract, versions: Sequence[StoredSchema]) -> AbstractContextManager[None]:
    """Keeps no record of registrations: where what asks for them does, or in tests."""
    return nullcontext()


class SchemaStore(Protocol):
    """Where the writers' schemas are kept for the readers. Safe to call from several threads.

    `knows_registry_ids`: whether this store can resolve the ids of a Schema Registry, which Confluent framing carries.
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
