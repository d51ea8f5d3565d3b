"""`SingleObjectStore`: single-object framing and versions in memory, for the stores without a registry."""

from __future__ import annotations

from collections.abc import Sequence

from ..contracts.compatibility import Compatibility
from ..contracts.contract import Contract
from .store import StoredSchema
from .versions import MemoryBook, registered, require_compatible


class SingleObjectStore:
    """Frames bodies by Avro's single-object encoding, and reads schemas from memory; subclasses fill the memory."""

    def __init__(self) -> None:
        self._book = MemoryBook()

    def require_registrable(self, contract: Contract, compatibility: Compatibility) -> None:
        """See SchemaStore."""
        versions = self.versions(contract.job_type)
        if registered(contract, versions) is None:
            require_compatible(contract, versions, compatibility)

    def frame(self, contract: Contract, body: bytes) -> bytes:
        """See SchemaStore: C3 01, fingerprint, body."""
        return contract.header + body

    def writer_schema(self, frame_id: bytes | int) -> StoredSchema | None:
        """See SchemaStore."""
        return self._book.get(frame_id)

    def versions(self, job_type: str) -> Sequence[StoredSchema]:
        """See SchemaStore."""
        return self._book.versions(job_type)

    def close(self) -> None:
        """See SchemaStore; no connection stays open between calls."""
