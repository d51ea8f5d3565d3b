"""The schema store for those who run a Schema Registry: Confluent framing, ids given by the registry.

A job type's subject is `<namespace>.<job type>`: it follows the type, not the topic, since a type may move to another
queue, and two types that share a declared record still change independently. The registry may enforce a compatibility
level of its own for a subject; its refusal is an IncompatibleSchema like ours.
"""

from __future__ import annotations

import importlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

from fastavro.schema import SchemaParseException, UnknownType

from .avro import CONFLUENT, REGISTRY_ID_BYTES, Codec
from .compatibility import Compatibility
from .contract import Contract
from .errors import IncompatibleSchema, RegistryMissing, SchemaStoreUnreachable
from .store import MemoryBook, StoredSchema, registered, require_compatible
from .wire_text import LONGEST_DETAIL, wire_text

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

_log = logging.getLogger(__name__)

T = TypeVar("T")

_TIMEOUT_S: Final = 5.0
_NOT_FOUND: Final = 404
_REFUSED: Final = frozenset({409, 422})

# How many ids that nobody could name are asked for at the next refresh; what bad bytes name beyond it is left out.
_ASKED_IDS: Final = 64


class RegistrySchemaStore:
    """Keeps schemas in a Schema Registry. Safe to call from several threads."""

    knows_registry_ids: Final = True

    def __init__(
        self,
        url: str,
        config: Mapping[str, str | int | float | bool] | None = None,
        *,
        namespace: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use a registry; nothing is connected before the first call.

        Args:
            url: of the registry; several are parted by commas.
            config: more settings of confluent-kafka's SchemaRegistryClient (`basic.auth.user.info`, `ssl.*`, ...).
            namespace: the pipeline's, which its subjects begin with.
            clock: seconds that only grow.

        Raises:
            RegistryMissing: the `registry` extra is not installed.
        """
        self._shown, secrets = _apart(url)
        self._namespace, self._clock = namespace, clock
        self._client = _client(
            {"timeout": _TIMEOUT_S, "max.retries": 0, **secrets, **(config or {}), "url": self._shown}
        )
        self._book = MemoryBook()
        self._own_ids: dict[bytes, bytes] = {}
        self._job_types: set[str] = set()
        self._asked: set[int] = set()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RegistrySchemaStore({self._shown!r})"

    def subject(self, job_type: str) -> str:
        """Name the subject of a job type."""
        return f"{self._namespace}.{job_type}" if self._namespace else job_type

    def register(self, contract: Contract, compatibility: Compatibility) -> None:
        """See SchemaStore."""
        with self._lock:
            if contract.header in self._own_ids and contract.job_type in self._job_types:
                return
            self._job_types.add(contract.job_type)
            self._learn_versions(contract.job_type)
            schema_id = self._register(contract, compatibility)
            self._own_ids[contract.header] = CONFLUENT + schema_id.to_bytes(REGISTRY_ID_BYTES, "big")

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
        """Learn new versions of the job types registered here, and the ids asked for since the last refresh."""
        deadline = self._clock() + timeout_s
        with self._lock:
            for job_type in sorted(self._job_types):
                self._require_time(deadline)
                self._learn_versions(job_type)
            while self._asked:
                self._require_time(deadline)
                self._learn_id(self._asked.pop())

    def close(self) -> None:
        """See SchemaStore."""
        self._client.close()

    def _register(self, contract: Contract, compatibility: Compatibility) -> int:
        versions = self.versions(contract.job_type)
        known = registered(contract, versions)
        if known is not None and isinstance(known.frame_id, int):
            return known.frame_id
        require_compatible(contract, versions, compatibility)
        schema_id = self._post(contract)
        self._learn_versions(contract.job_type)
        return schema_id

    def _post(self, contract: Contract) -> int:
        from confluent_kafka.schema_registry import Schema, SchemaRegistryError

        subject, schema = self.subject(contract.job_type), Schema(json.dumps(contract.schema), "AVRO")
        try:
            return self._client.register_schema(subject, schema)
        except SchemaRegistryError as error:
            if error.http_status_code not in _REFUSED:
                raise self._unreachable(error) from error
            explanation = f"the registry refused it: {error.error_message}"
            raise IncompatibleSchema(contract.job_type, f"registry's rule for {subject}", "", explanation) from error
        except _transport_error() as error:
            raise self._unreachable(error) from error

    def _learn_versions(self, job_type: str) -> None:
        subject = self.subject(job_type)
        for version in self._ask(self._client.get_versions, subject) or ():
            found = self._ask(self._client.get_version, subject, version)
            if found is not None:
                self._note(job_type, found.schema_id, found.schema)

    def _learn_id(self, schema_id: int) -> None:
        found = self._ask(self._client.get_schema, schema_id)
        if found is not None:
            self._note("", schema_id, found)

    def _note(self, job_type: str, schema_id: int | None, schema: Schema) -> None:
        try:
            avro = json.loads(schema.schema_str or "")
            fingerprint = Codec(avro).fingerprint
        except (ValueError, LookupError, TypeError, SchemaParseException, UnknownType) as error:
            _log.warning(
                "skipped a schema of the registry that is not Avro",
                extra={"schema_id": schema_id, "reason": wire_text(str(error), LONGEST_DETAIL)},
            )
            return
        if schema_id is not None:
            stored = StoredSchema(job_type=job_type, frame_id=schema_id, schema=avro, registered_at=None)
            self._book.add(stored)
            # Payloads from the time before the registry carry the fingerprint instead.
            self._book.also(fingerprint, stored)

    def _ask(self, question: Callable[..., T], *about: object) -> T | None:
        """Ask the registry; None is its answer for what it does not have."""
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            return question(*about)
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                return None
            raise self._unreachable(error) from error
        except _transport_error() as error:
            raise self._unreachable(error) from error

    def _require_time(self, deadline: float) -> None:
        if self._clock() >= deadline:
            raise SchemaStoreUnreachable(f"registry {self._shown}", "it did not answer in time")

    def _unreachable(self, error: Exception) -> SchemaStoreUnreachable:
        return SchemaStoreUnreachable(f"registry {self._shown}", str(error) or type(error).__name__)


def _client(config: dict[str, Any]) -> SchemaRegistryClient:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise RegistryMissing from error
    return SchemaRegistryClient(config)


def _transport_error() -> type[Exception]:
    """Find the HTTP library that the registry's client uses: httpx2 where it is installed, else httpx."""
    try:
        library = importlib.import_module("httpx2")
    except ImportError:
        library = importlib.import_module("httpx")
    error: type[Exception] = library.TransportError
    return error


def _apart(url: str) -> tuple[str, dict[str, str]]:
    """Part user and password from a URL: the HTTP library logs the URLs that it requests."""
    secrets: dict[str, str] = {}
    shown = []
    for one in url.split(","):
        parts = urlsplit(one.strip())
        user_info, at, host = parts.netloc.rpartition("@")
        if at:
            secrets["basic.auth.user.info"] = unquote(user_info)
        shown.append(parts._replace(netloc=host).geturl())
    return ",".join(shown), secrets
