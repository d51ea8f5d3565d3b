"""A schema store in memory."""

from __future__ import annotations

from typing import Final

from ..contracts.compatibility import Compatibility
from ..contracts.contract import Contract
from .single_object_store import SingleObjectStore
from .versions import registered, require_compatible, stored_now


class MemorySchemaStore(SingleObjectStore):
    """A store inside the process, with single-object framing: for tests, and for looking at schemas offline."""

    knows_registry_ids: Final = True

    def register(self, contract: Contract, compatibility: Compatibility = Compatibility.BACKWARD) -> None:
        """See SchemaStore."""
        versions = self.versions(contract.job_type)
        if registered(contract, versions) is None:
            require_compatible(contract, versions, compatibility)
            self._book.add(stored_now(contract))

    def refresh(self, timeout_s: float) -> None:
        """See SchemaStore; no other process can have registered anything."""
