"""The versions of job types' schemas: those that a store knows, and the rules for a contract that joins them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime

from ..codec.codec import Codec
from ..contracts.compatibility import Compatibility, violations
from ..contracts.contract import Contract
from ..errors import IncompatibleSchema
from .store import StoredSchema


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


def stored_now(contract: Contract) -> StoredSchema:
    """Describe a contract as the version it becomes when it is registered now."""
    return StoredSchema(
        job_type=contract.job_type,
        frame_id=contract.fingerprint,
        schema=contract.schema,
        registered_at=datetime.now(UTC),
    )
