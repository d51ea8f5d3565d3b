"""The Schema Registry store, against a small server of ours, which can be ill in all the ways that registries are."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stoker.schemas import (
    Compatibility,
    Contract,
    Decoder,
    IncompatibleSchema,
    RegistryMissing,
    RegistrySchemaStore,
    RegistrySettingRefused,
    RegistryUnreachable,
    SchemaMismatch,
    SchemaStoreUnreachable,
    UnknownSchema,
)
from stoker.topology.cluster.registry_settings import registry_options
from support.kafka.authority import Authority, make_authority
from support.kafka.registry_server import Answer, Registry, serving


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
    with serving(Registry()) as server:
        yield server


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
    registry.add('"int"')
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
    assert {method for method, _, _ in registry.seen} == {"GET"}


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
    """A break is refused before it is posted; a refusal of the registry's own is reported with its message."""
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


ILL: dict[str, tuple[Answer, str]] = {
    "wants credentials": ((401, {"error_code": 401, "message": "no luck today"}), "credentials.*no luck today"),
    "forbids": ((403, {"error_code": 40301, "message": "no luck today"}), "may not.*no luck today"),
    "fails": ((500, {"error_code": 50001, "message": "no luck today"}), "HTTP 500.*no luck today"),
    "is behind a proxy that finds nobody": ((502, "<html>Bad Gateway</html>"), "HTTP 502.*Bad Gateway"),
    "is overrun": ((429, {"message": "slowly"}), "too often"),
    "is elsewhere": ((302, ""), "redirect"),
    "is a web page": ((200, "<html>Welcome</html>"), "no Schema Registry"),
    "is another service": ((200, {"ok": True}), "no Schema Registry|no id"),
    "is not at this path": ((404, "<html>Not Found</html>"), "no registry at that path"),
    "is not at this path of a service": ((404, {"error": "Not Found"}), "no registry at that path"),
    "has a framework's own 404": ((404, {"error_code": 404, "message": "HTTP 404"}), "no registry at that path"),
}


@pytest.mark.parametrize(("answer", "said"), ILL.values(), ids=ILL)
def test_an_ailing_registry_is_unreachable(
    registry: Registry, open_store: OpenStore, answer: Answer, said: str
) -> None:
    """Whatever is no registry's answer is reported as such, with the reason, and is none: not even "not found"."""
    registry.answer = answer
    with pytest.raises(RegistryUnreachable, match=said):
        open_store().register(contract_of(first), Compatibility.BACKWARD)
    reader = open_store()
    with pytest.raises(RegistryUnreachable, match=said):
        Decoder(reader).decode(contract_of(first), b"\x00\x00\x00\x00\x01\x00")
    registry.answer = None
    with pytest.raises(UnknownSchema):
        Decoder(reader).decode(contract_of(first), b"\x00\x00\x00\x00\x01\x00")


def test_one_sick_schema_keeps_no_other_from_being_learned(registry: Registry, open_store: OpenStore) -> None:
    """The ids that can be had are learned, also beside one that the registry fails at."""
    store, written = open_store(), [registry.add(json.dumps(contract_of(one).schema)) for one in (first, second)]
    registry.schemas[0] = {"schema": 7}
    for schema_id in written:
        store.writer_schema(schema_id)
    with pytest.raises(RegistryUnreachable):
        store.refresh(10)
    assert store.writer_schema(2) is not None


URLS: dict[str, str] = {
    "no URL": "registry",
    "no scheme": "user:hush-hush@registry:8081",
    "another scheme": "kafka://registry:8081",
    "no host": "http:///subjects",
    "a port that is none": "http://user:hush-hush@registry:port",
    "a port beyond all": "http://registry:80810",
    "a host that is none": "http://[::1",
    "a query": "http://registry:8081?token=hush-hush",
    "one of two": "http://registry:8081,registry",
    "nothing": " ",
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """It is reported at once, with how an address looks, and without a password."""
    with pytest.raises(RegistrySettingRefused, match="http://host:port") as refused:
        RegistrySchemaStore(url)
    assert "hush-hush" not in f"{refused.value} {refused.value.__cause__!r} {refused.value.__context__!r}"


def test_an_option_that_cannot_be_is_refused() -> None:
    """A certificate that is not there is reported, in place of a failure of the TLS library."""
    with pytest.raises(RegistrySettingRefused, match="No such file"):
        RegistrySchemaStore("https://registry:8081", {"ssl.ca.location": "/no/such/ca.pem"})


def test_a_registry_below_a_path_is_used(registry: Registry, open_store: OpenStore) -> None:
    """The path of the address stands before those of the API, with or without a slash at its end."""
    registry.prefix = "/apis/registry"
    for end in ("", "/"):
        store = RegistrySchemaStore(f"{registry.url}{end}", namespace="n")
        store.register(contract_of(first), Compatibility.BACKWARD)
        store.close()
    assert registry.subjects == {"n.claims.assess": [1]}


def test_schemas_that_refer_to_others_are_read(registry: Registry, open_store: OpenStore) -> None:
    """A foreign publisher's schema with references, also of references, is put together before it is used."""
    registry.add('{"type": "enum", "name": "Cabin", "namespace": "n", "symbols": ["FIRST", "ECONOMY"]}', "cabins")
    cabin = {"name": "n.Cabin", "subject": "cabins", "version": 1}
    leg = '{"type": "record", "name": "Leg", "namespace": "n", "fields": [{"name": "cabin", "type": "Cabin"}]}'
    registry.add(leg, "legs", (cabin,))
    job = {"type": "record", "name": "job", "namespace": "n", "fields": [
        {"name": "tail", "type": "string"}, {"name": "out", "type": "Leg"}, {"name": "back", "type": "n.Leg"},
    ]}  # fmt: skip
    registry.add(json.dumps(job), "n.claims.assess", ({"name": "n.Leg", "subject": "legs", "version": 1},))
    value = b"\x00\x00\x00\x00\x03\x04N1\x00\x02"
    assert Decoder(open_store()).decode_as_written(value)[1] == {
        "tail": "N1", "out": {"cabin": "FIRST"}, "back": {"cabin": "ECONOMY"}}  # fmt: skip


def test_a_new_store_knows_the_versions_of_the_job_types_that_it_is_given(
    registry: Registry, open_store: OpenStore
) -> None:
    """Commands that register nothing see what others have registered, and what would be refused."""
    open_store().register(contract_of(first), Compatibility.BACKWARD)
    store = RegistrySchemaStore(registry.url, namespace="n", job_types=["claims.assess"])
    store.refresh(10)
    assert [version.frame_id for version in store.versions("claims.assess")] == [1]
    store.require_registrable(contract_of(second), Compatibility.BACKWARD)
    with pytest.raises(IncompatibleSchema, match="must"):
        store.require_registrable(contract_of(breaking), Compatibility.BACKWARD)
    with pytest.raises(IncompatibleSchema, match="registry's rule"):
        store.require_registrable(contract_of(breaking), Compatibility.NONE)
    store.close()
    assert registry.subjects == {"n.claims.assess": [1]}


def test_a_newer_schema_of_the_registry_is_distinguished_from_an_older_one(
    registry: Registry, open_store: OpenStore
) -> None:
    """A worker that registers nothing knows its place: what does not resolve is put off only if it is newer."""
    for function in (breaking, first, breaking):
        registry.add(json.dumps(contract_of(function).schema), "n.claims.assess")
    worker = RegistrySchemaStore(registry.url, namespace="n", job_types=["claims.assess"])
    values = {1: b"\x00\x00\x00\x00\x01\x04N1\x02", 2: b"\x00\x00\x00\x00\x02\x04N1"}
    with pytest.raises(SchemaMismatch) as newer:
        Decoder(worker).decode(contract_of(breaking), values[2])
    registry.subjects["n.claims.assess"].reverse()
    other = RegistrySchemaStore(registry.url, namespace="n", job_types=["claims.assess"])
    with pytest.raises(SchemaMismatch) as older:
        Decoder(other).decode(contract_of(breaking), values[2])
    worker.close()
    other.close()
    assert (newer.value.newer, older.value.newer) == (True, False)


def test_a_schema_whose_place_is_not_known_is_not_read_yet(registry: Registry, open_store: OpenStore) -> None:
    """An outage between the answer about an id and that about the versions leaves the id unknown."""
    registry.add(json.dumps(contract_of(first).schema), "n.claims.assess")
    worker = RegistrySchemaStore(registry.url, namespace="n", job_types=["claims.assess"])
    registry.ailing_path = "/versions"
    registry.answer = (500, {"error_code": 50001, "message": "no luck today"})
    with pytest.raises(RegistryUnreachable):
        Decoder(worker).decode(contract_of(breaking), b"\x00\x00\x00\x00\x01\x04N1")
    assert worker.writer_schema(1) is None
    worker.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority of the test's own."""
    return make_authority(tmp_path)


def test_a_registry_behind_tls_is_asked_by_those_who_trust_it(authority: Authority) -> None:
    """The authority is given as an option; without it, or in plain text, it is an outage with the reason."""
    server = Registry()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server_store)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    address = f"https://127.0.0.1:{server.server_port}"
    options = registry_options({"STOKER_SCHEMA_REGISTRY_SSL_CA_LOCATION": str(authority.ca)})
    with serving(server), closing(RegistrySchemaStore(address, options, namespace="n")) as trusting:
        trusting.register(contract_of(first), Compatibility.BACKWARD)
        for url, said in ((address, "CERTIFICATE_VERIFY_FAILED"), (server.url, "could not be asked")):
            with (
                closing(RegistrySchemaStore(url, namespace="n")) as other,
                pytest.raises(RegistryUnreachable, match=said),
            ):
                other.register(contract_of(first), Compatibility.BACKWARD)
    assert server.subjects == {"n.claims.assess": [1]}


def test_two_ids_that_are_met_together_are_both_asked_for(registry: Registry, open_store: OpenStore) -> None:
    """A tool that meets a second new id within a second of the first asks for it as well."""
    for function in (first, second):
        registry.add(json.dumps(contract_of(function).schema))
    decoder = Decoder(open_store())
    for value in (b"\x00\x00\x00\x00\x01\x04N1", b"\x00\x00\x00\x00\x02\x04N1\x00"):
        assert decoder.decode(contract_of(first), value) == {"tail": "N1"}


def test_a_registry_that_is_not_there_is_unreachable_and_no_secret_is_shown() -> None:
    """A refused connection is reported with the registry's address, and without the password in its URL."""
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
    assert {authorization for _, _, authorization in registry.seen} == {"Basic dXNlcjpodXNoIQ=="}


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the registry client the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "confluent_kafka.schema_registry", None)
    with pytest.raises(RegistryMissing, match=r"stoker\[registry\]"):
        RegistrySchemaStore("http://127.0.0.1:1")
