"""The Schema Registry store, against a small server that speaks the registry's protocol.

The server is ours, since a real registry can only be had with a container engine; it answers the few endpoints that
are used, as the registry's documentation has them.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from stoker.schemas import (
    Compatibility,
    Contract,
    Decoder,
    IncompatibleSchema,
    RegistryMissing,
    RegistrySchemaStore,
    SchemaStoreUnreachable,
    UnknownSchema,
)


class Registry(ThreadingHTTPServer):
    """A registry with ids from 1, and a list of ids for each subject."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.schemas: list[str] = []
        self.subjects: dict[str, list[int]] = {}
        self.seen: list[tuple[str, str | None]] = []
        self.answer: tuple[int, dict[str, Any]] | None = None
        self.ailing = {"GET", "POST"}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers GET and POST."""

    server: Registry

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Give a schema, the versions of a subject, or one version."""
        path = unquote(self.path.partition("?")[0])
        if by_id := re.fullmatch(r"/schemas/ids/(\d+)", path):
            at = int(by_id[1])
            found: dict[str, Any] | None = (
                {"schema": self.server.schemas[at - 1]} if 0 < at <= len(self.server.schemas) else None
            )
        elif versions := re.fullmatch(r"/subjects/([^/]+)/versions", path):
            ids = self.server.subjects.get(versions[1])
            self.reply(list(range(1, len(ids) + 1)) if ids else None)
            return
        else:
            subject, version = re.fullmatch(r"/subjects/([^/]+)/versions/(\d+)", path).groups()  # type: ignore[union-attr]
            schema_id = self.server.subjects[subject][int(version) - 1]
            schema = self.server.schemas[schema_id - 1]
            found = {"subject": subject, "version": int(version), "id": schema_id, "schema": schema}
        self.reply(found)

    def do_POST(self) -> None:
        """Register a schema under a subject."""
        subject = unquote(self.path).split("/")[2]
        schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
        if schema not in self.server.schemas:
            self.server.schemas.append(schema)
        schema_id = self.server.schemas.index(schema) + 1
        self.server.subjects.setdefault(subject, []).append(schema_id)
        self.reply({"id": schema_id})

    def reply(self, found: object) -> None:
        """Send what was found, a 404 for None, or the answer the test has set."""
        self.server.seen.append((self.command, self.headers["Authorization"]))
        status, body = (200, found) if found is not None else (404, {"error_code": 40401, "message": "not found"})
        if self.server.answer is not None and self.command in self.server.ailing:
            status, body = self.server.answer
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def first(tail: str) -> None:
    """Have the first version of a contract."""


def second(tail: str, delay: int = 0) -> None:
    """Add a field with a default."""


def breaking(tail: str, must: int) -> None:
    """Add a field without a default."""


def contract_of(function: Callable[..., object]) -> Contract:
    """Make a version of the one job type."""
    return Contract.of_function(function, job_type="claims.assess", namespace="n")


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A running registry."""
    server = Registry()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def open_store(registry: Registry) -> Iterator[Callable[[], RegistrySchemaStore]]:
    """Open stores on the registry, and close them after the test."""
    opened: list[RegistrySchemaStore] = []

    def one() -> RegistrySchemaStore:
        opened.append(RegistrySchemaStore(registry.url, namespace="n"))
        return opened[-1]

    yield one
    for store in opened:
        store.close()


OpenStore = Callable[[], RegistrySchemaStore]


def test_payloads_carry_the_registrys_id(registry: Registry, open_store: OpenStore) -> None:
    """A registered contract is framed as 00 and its 4-byte id, under the subject of its job type."""
    store, contract = open_store(), contract_of(first)
    registry.schemas.append('"int"')
    store.register(contract, Compatibility.BACKWARD)
    assert store.frame(contract, b"body") == b"\x00\x00\x00\x00\x02body"
    assert registry.subjects == {"n.claims.assess": [2]}


def test_registering_again_posts_nothing(registry: Registry, open_store: OpenStore) -> None:
    """A contract that the registry holds is found, not posted again."""
    open_store().register(contract_of(first), Compatibility.BACKWARD)
    registry.seen.clear()
    store = open_store()
    for _ in range(2):
        store.register(contract_of(first), Compatibility.BACKWARD)
    assert {method for method, _ in registry.seen} == {"GET"}


def test_versions_resolve_across_processes(open_store: OpenStore) -> None:
    """A worker reads what a newer producer wrote after one refresh, and an unknown id stays unknown."""
    worker, producer = open_store(), open_store()
    worker.register(contract_of(first), Compatibility.FULL)
    new = contract_of(second)
    producer.register(new, Compatibility.FULL)
    value = producer.frame(new, new.encode(new.payload(("N1", 2), {})))
    decoder = Decoder(worker)
    assert decoder.decode(contract_of(first), value) == {"tail": "N1"}
    assert [version.frame_id for version in worker.versions("claims.assess")] == [1, 2]
    with pytest.raises(UnknownSchema):
        decoder.decode(contract_of(first), b"\x00\x00\x00\x00\x63\x00")


def test_a_reader_finds_an_id_of_a_subject_it_never_registered(open_store: OpenStore) -> None:
    """An id outside the known job types, as of another subject, is asked for at the refresh."""
    producer, reader = open_store(), open_store()
    producer.register(contract_of(first), Compatibility.FULL)
    value = producer.frame(contract_of(first), contract_of(first).encode({"tail": "N1"}))
    assert Decoder(reader).decode(contract_of(first), value) == {"tail": "N1"}


def test_payloads_from_before_the_registry_are_read(open_store: OpenStore) -> None:
    """A payload in single-object encoding, of a version that the registry holds as well, is resolved."""
    store, old = open_store(), contract_of(first)
    for function in (first, second):
        store.register(contract_of(function), Compatibility.BACKWARD)
    value = old.header + old.encode({"tail": "N1"})
    assert Decoder(store).decode(contract_of(second), value) == {"tail": "N1", "delay": 0}


def test_our_rules_and_the_registrys_both_refuse(registry: Registry, open_store: OpenStore) -> None:
    """A break is refused before it is posted; a refusal of the registry's own is told with its message."""
    store = open_store()
    store.register(contract_of(first), Compatibility.BACKWARD)
    with pytest.raises(IncompatibleSchema) as refused:
        store.register(contract_of(breaking), Compatibility.BACKWARD)
    assert refused.value.field == "must"
    assert registry.subjects == {"n.claims.assess": [1]}
    registry.ailing = {"POST"}
    registry.answer = (409, {"error_code": 409, "message": "Schema being registered is incompatible"})
    with pytest.raises(IncompatibleSchema, match="being registered is incompatible"):
        store.register(contract_of(second), Compatibility.BACKWARD)


@pytest.mark.parametrize("status", [401, 500])
def test_an_ailing_registry_is_unreachable(registry: Registry, open_store: OpenStore, status: int) -> None:
    """An error of the registry is told as such, with its reason."""
    registry.answer = (status, {"error_code": status, "message": "no luck today"})
    with pytest.raises(SchemaStoreUnreachable, match="no luck today"):
        open_store().register(contract_of(first), Compatibility.BACKWARD)


def test_a_registry_that_is_not_there_is_unreachable_and_no_secret_is_shown() -> None:
    """A refused connection is told with the registry's address, and without the password in its URL."""
    gone = Registry()
    gone.server_close()
    store = RegistrySchemaStore(gone.url.replace("http://", "http://user:hush-hush@"), namespace="n")
    with pytest.raises(SchemaStoreUnreachable) as unreachable:
        store.register(contract_of(first), Compatibility.BACKWARD)
    store.close()
    assert str(gone.server_port) in str(unreachable.value)
    assert "hush-hush" not in f"{unreachable.value} {store!r} {unreachable.value.__cause__!r}"


def test_credentials_in_the_url_are_sent(registry: Registry) -> None:
    """User and password of the URL reach the registry as basic authentication."""
    store = RegistrySchemaStore(registry.url.replace("http://", "http://user:hush%21@"), namespace="n")
    store.register(contract_of(first), Compatibility.BACKWARD)
    store.close()
    assert {authorization for _, authorization in registry.seen} == {"Basic dXNlcjpodXNoIQ=="}


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the registry client the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "confluent_kafka.schema_registry", None)
    with pytest.raises(RegistryMissing, match=r"stoker\[registry\]"):
        RegistrySchemaStore("http://127.0.0.1:1")
