"""The schema store for those who run a Schema Registry: Confluent framing, ids given by the registry.

A job type's subject is `<namespace>.<job type>`: it follows the type, not the topic, since a type may move to another
queue, and two types that share a declared record still change independently. The registry may enforce a compatibility
level of its own for a subject; its refusal is an IncompatibleSchema like ours.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from ..codec.codec import CONFLUENT, REGISTRY_ID_BYTES, Codec
from ..codec.schema import NOT_A_SCHEMA, Schema
from ..contracts.compatibility import Compatibility
from ..contracts.contract import Contract
from ..errors import IncompatibleSchema, RegistryUnreachable
from ..wire_text import LONGEST_DETAIL, wire_text
from .references import inlined
from .registry_client import FoundSchema, Option, RegistryClient, RegistryRefusal, subject_of
from .store import Recorded, StoredSchema, unrecorded
from .versions import MemoryBook, registered, require_compatible

_LOGGER = logging.getLogger(__name__)

_REGISTER_TIMEOUT_S: Final = 15.0

# How many unknown ids are asked for at the next refresh; what bad bytes name beyond it is left out.
_ASKED_IDS: Final = 64
_MOST_REFERENCES: Final = 100


class RegistrySchemaStore:
    """Keeps schemas in a Schema Registry. Safe to call from several threads."""

    knows_registry_ids: Final = True

    def __init__(
        self,
        url: str,
        config: Mapping[str, Option] | None = None,
        *,
        namespace: str = "",
        job_types: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
        recorded: Recorded = unrecorded,
    ) -> None:
        """Use a registry; nothing is connected before the first call.

        Args:
            url: of the registry; several are parted by commas.
            config: more settings of confluent-kafka's SchemaRegistryClient (`basic.auth.user.info`, `ssl.*`, ...).
            namespace: the pipeline's, which its subjects begin with.
            job_types: those whose versions `refresh` learns, beside those that are registered here.
            clock: seconds that only grow.
            recorded: puts what this store registers on record.

        Raises:
            RegistrySettingRefused: the address or a setting cannot be.
            RegistryMissing: the `registry` extra is not installed.
        """
        self._client = RegistryClient(url, config or {})
        self._namespace, self._clock, self._recorded = namespace, clock, recorded
        self._book = MemoryBook()
        self._own_ids: dict[bytes, bytes] = {}
        self._registered: set[tuple[str, bytes]] = set()
        self._job_types = set(job_types)
        self._learned: set[tuple[str, int]] = set()
        self._asked: set[int] = set()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RegistrySchemaStore({self._client.shown!r})"

    def subject(self, job_type: str) -> str:
        """Name the subject of a job type."""
        return subject_of(self._namespace, job_type)

    def register(self, contract: Contract, compatibility: Compatibility) -> None:
        """See SchemaStore."""
        with self._lock:
            if (contract.job_type, contract.header) in self._registered:
                return
            deadline_at_s = self._clock() + _REGISTER_TIMEOUT_S
            self._job_types.add(contract.job_type)
            self._learn_versions(contract.job_type, deadline_at_s)
            schema_id = self._register(contract, compatibility, deadline_at_s)
            self._own_ids[contract.header] = CONFLUENT + schema_id.to_bytes(REGISTRY_ID_BYTES, "big")
            self._registered.add((contract.job_type, contract.header))

    def require_registrable(self, contract: Contract, compatibility: Compatibility) -> None:
        """See SchemaStore; the registry's own rule is asked as well."""
        versions = self.versions(contract.job_type)
        if registered(contract, versions) is not None:
            return
        require_compatible(contract, versions, compatibility)
        subject = self.subject(contract.job_type)
        try:
            if not versions or self._client.is_compatible(subject, contract.schema):
                return
        except RegistryRefusal as refusal:
            raise self._refused(contract, str(refusal)) from refusal
        raise self._refused(contract, "by its own rule the contract is not compatible with the versions there")

    def frame(self, contract: Contract, body: bytes) -> bytes:
        """See SchemaStore."""
        return self._own_ids[contract.header] + body

    def writer_schema(self, frame_id: bytes | int) -> StoredSchema | None:
        """See SchemaStore; an id that is not known is asked for at the next refresh."""
        stored = self._book.get(frame_id)
        if stored is None and isinstance(frame_id, int) and len(self._asked) < _ASKED_IDS:
            self._asked.add(frame_id)
        return stored

    def versions(self, job_type: str) -> Sequence[StoredSchema]:
        """See SchemaStore."""
        return self._book.versions(job_type)

    def refresh(self, timeout_s: float) -> None:
        """Learn the ids asked for since the last refresh; if there were none, or one is new, the types' versions."""
        deadline_at_s = self._clock() + timeout_s
        with self._lock:
            was_asked = bool(self._asked)
            found, failure = self._ask_for_ids(deadline_at_s)
            if found or not was_asked:
                for job_type in sorted(self._job_types):
                    self._learn_versions(job_type, deadline_at_s)
            # Only now: a schema that is read before its place among the versions is known could not be
            # distinguished from an older one.
            for schema in found:
                self._note("", schema, deadline_at_s)
            if failure is not None:
                raise failure

    def close(self) -> None:
        """See SchemaStore."""
        self._client.close()

    def _register(self, contract: Contract, compatibility: Compatibility, deadline_at_s: float) -> int:
        versions = self.versions(contract.job_type)
        known = registered(contract, versions)
        if known is not None and isinstance(known.frame_id, int):
            return known.frame_id
        require_compatible(contract, versions, compatibility)
        try:
            with self._recorded(contract, versions):
                schema_id = self._client.register(self.subject(contract.job_type), contract.schema)
        except RegistryRefusal as refusal:
            raise self._refused(contract, str(refusal)) from refusal
        self._learn_versions(contract.job_type, deadline_at_s)
        return schema_id

    def _refused(self, contract: Contract, reason: str) -> IncompatibleSchema:
        rule = f"registry's rule for {self.subject(contract.job_type)}"
        return IncompatibleSchema(contract.job_type, rule, "", f"the registry refused it: {reason}")

    def _learn_versions(self, job_type: str, deadline_at_s: float) -> None:
        subject = self.subject(job_type)
        self._require_time(deadline_at_s)
        for number in self._client.versions(subject):
            if (job_type, number) in self._learned:
                continue
            self._require_time(deadline_at_s)
            found = self._client.version(subject, number)
            if found is not None:
                self._note(job_type, found, deadline_at_s)
                self._learned.add((job_type, number))

    def _ask_for_ids(self, deadline_at_s: float) -> tuple[list[FoundSchema], RegistryUnreachable | None]:
        """Get what was asked for; one that the registry fails at keeps none from its turn."""
        found: list[FoundSchema] = []
        failure = None
        while self._asked:
            self._require_time(deadline_at_s)
            try:
                answer = self._client.schema(self._asked.pop())
            except RegistryUnreachable as error:
                failure = failure or error
                continue
            if answer is not None:
                found.append(answer)
        return found, failure

    def _note(self, job_type: str, found: FoundSchema, deadline_at_s: float) -> None:
        try:
            avro = self._whole(found, deadline_at_s)
            fingerprint = Codec(avro).fingerprint
        except (ValueError, *NOT_A_SCHEMA) as error:
            _LOGGER.warning(
                "skipped a schema of the registry that is not Avro",
                extra={"schema_id": found.schema_id, "reason": wire_text(str(error), LONGEST_DETAIL)},
            )
            return
        if found.schema_id is not None:
            stored = StoredSchema(job_type=job_type, frame_id=found.schema_id, schema=avro, registered_at=None)
            self._book.add(stored)
            # Payloads from the time before the registry carry the fingerprint instead.
            self._book.also(fingerprint, stored)

    def _whole(self, found: FoundSchema, deadline_at_s: float) -> Schema:
        """The schema as JSON data, with the definitions in it that it refers to."""
        definitions: dict[str, Schema] = {}
        left = dict(found.references)
        while left and len(definitions) < _MOST_REFERENCES:
            name, (subject, number) = left.popitem()
            self._require_time(deadline_at_s)
            referred = self._client.version(subject, number)
            if referred is not None:
                definitions[name] = json.loads(referred.text)
                left |= {other: at for other, at in referred.references.items() if other not in definitions}
        schema: Schema = json.loads(found.text)
        return inlined(schema, definitions) if definitions else schema

    def _require_time(self, deadline_at_s: float) -> None:
        if self._clock() >= deadline_at_s:
            raise RegistryUnreachable(self._client.shown, "it did not answer in time")
