"""`SimRegistry`: where a newer producer has registered its schema; `SimStore`: what one process knows of it."""

from __future__ import annotations

from stoker.schemas import Contract, StoredSchema
from stoker.schemas.errors import RegistryUnreachable
from support.scenes.deliveries import EmptyStore


class SimRegistry:
    """A registry that may be away, and that may not have the newer schema yet.

    Attributes:
        newer: the schema of a newer producer; values begin with its header.
        is_away: whether it answers nobody.
        has_newer: whether the newer schema is registered.
    """

    def __init__(self, newer: Contract) -> None:
        self.newer = newer
        self.is_away = False
        self.has_newer = False


class SimStore(EmptyStore):
    """The schema store of one process."""

    def __init__(self, registry: SimRegistry) -> None:
        self._registry = registry
        self._learned = False

    def writer_schema(self, frame_id: bytes | int) -> StoredSchema | None:
        """From memory."""
        newer = self._registry.newer
        if not self._learned or frame_id != newer.fingerprint:
            return None
        return StoredSchema(job_type=newer.job_type, frame_id=frame_id, schema=newer.schema, registered_at=None)

    def refresh(self, timeout_s: float) -> None:
        """Ask."""
        if self._registry.is_away:
            raise RegistryUnreachable("sim", "it is away")
        self._learned = self._registry.has_newer
