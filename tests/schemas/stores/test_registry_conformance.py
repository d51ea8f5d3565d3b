"""What the registry store relies on, held against a real Schema Registry and against the tests' own server alike.

From the public API's documentation: ids belong to schemas, not to subjects; versions count from 1 for each subject;
what is not there is a 404 with a code of its own (40401 subjects, 40402 versions, 40403 schemas); a schema
that breaks the subject's level is a 409; a deleted subject has no versions, and its schemas keep their ids.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from stoker.schemas import (
    Compatibility,
    Contract,
    Decoder,
    IncompatibleSchema,
    RegistrySchemaStore,
    RegistryUnreachable,
    UnknownSchema,
)
from stoker.schemas.codec.schema import Schema, is_record_schema
from support.kafka.registry_server import Registry, serving


def first(tail: str) -> None:
    """Have the first version of a contract."""


def second(tail: str, delay: int = 0) -> None:
    """Add a field with a default."""


def breaking(tail: str, must: int) -> None:
    """Add a field without a default."""


@dataclass(frozen=True)
class Side:
    """One registry, and the namespace of this test there."""

    url: str
    namespace: str
    opened: ExitStack

    def contract(self, function: Callable[..., object], job_type: str = "assess") -> Contract:
        """A version of a job type; no other test has it."""
        return Contract.of_function(function, job_type=job_type, namespace=self.namespace)

    def store(self, *job_types: str) -> RegistrySchemaStore:
        """A new process's store."""
        return self.store_at(self.url, self.namespace, *job_types)

    def store_at(self, url: str, namespace: str, *job_types: str) -> RegistrySchemaStore:
        """A store elsewhere."""
        return self.opened.enter_context(closing(RegistrySchemaStore(url, namespace=namespace, job_types=job_types)))

    def frame(self, store: RegistrySchemaStore, function: Callable[..., object], **payload: object) -> bytes:
        """A payload as its producer writes it."""
        contract = self.contract(function)
        store.register(contract, Compatibility.NONE)
        return store.frame(contract, contract.encode(contract.payload((), payload)))

    def ask(self, method: str, path: str, body: object = None) -> object:
        """Ask it by hand."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        request = urllib.request.Request(f"{self.url}{path}", content, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())


@pytest.fixture
def real(schema_registry: str, namespace: str) -> Iterator[Side]:
    """The real registry."""
    with ExitStack() as opened:
        yield Side(schema_registry, namespace, opened)


@pytest.fixture(params=["ours", "real"])
def side(request: pytest.FixtureRequest, namespace: str) -> Iterator[Side]:
    """Either registry."""
    if request.param == "real":
        yield request.getfixturevalue("real")
        return
    with serving(Registry()) as registry, ExitStack() as opened:
        yield Side(registry.url, namespace, opened)


def last_field(schema: Schema) -> str:
    """Name the last field of a record."""
    assert is_record_schema(schema)
    return schema["fields"][-1]["name"]


def test_versions_are_registered_found_and_read(side: Side) -> None:
    """Two versions have ids of their own, another process finds them in order, and payloads of both are read."""
    producer, worker = side.store(), side.store("assess")
    old = side.frame(producer, first, tail="N1")
    new = side.frame(producer, second, tail="N1", delay=2)
    worker.refresh(20)
    versions = worker.versions("assess")
    assert [last_field(version.schema) for version in versions] == ["tail", "delay"]
    assert [int(version.frame_id) for version in versions] == [int.from_bytes(v[1:5], "big") for v in (old, new)]
    decoder = Decoder(worker)
    assert decoder.decode(side.contract(second), old) == {"tail": "N1", "delay": 0}
    assert decoder.decode(side.contract(first), new) == {"tail": "N1"}
    assert decoder.decode_as_written(new)[1] == {"tail": "N1", "delay": 2}


def test_registering_again_gives_the_same_id(side: Side) -> None:
    """Also from another process, and for a version that is not the last."""
    ids = {side.frame(side.store(), function, tail="N1")[:5] for function in (first, second, first)}
    assert len(ids) == 2


def test_what_is_not_there_is_reported_as_that(side: Side) -> None:
    """A subject without versions is empty, an unknown id unknown; neither is an error."""
    store = side.store("assess")
    store.refresh(20)
    assert list(store.versions("assess")) == []
    with pytest.raises(UnknownSchema):
        Decoder(store).decode(side.contract(first), b"\x00\x7f\x00\x00\x00\x00")


def test_a_wrong_path_is_no_registry(side: Side) -> None:
    """The 404 of the server that the registry runs in says nothing about schemas."""
    store = side.store_at(f"{side.url}/elsewhere", side.namespace)
    with pytest.raises(RegistryUnreachable):
        store.register(side.contract(first), Compatibility.NONE)


def test_the_registrys_own_rule_refuses_before_and_at_the_registration(side: Side) -> None:
    """Where our rule lets a contract pass, the subject's level is asked, and its refusal is reported."""
    side.frame(side.store(), first, tail="N1")
    if "ccompat" in side.url:  # ours has this level for all subjects
        side.ask("PUT", f"/config/{side.namespace}.assess", {"compatibility": "BACKWARD"})
    store = side.store("assess")
    store.refresh(20)
    store.require_registrable(side.contract(second), Compatibility.NONE)
    for refuse in (store.require_registrable, store.register):
        with pytest.raises(IncompatibleSchema, match="the registry refused it"):
            refuse(side.contract(breaking), Compatibility.NONE)
    assert len(store.versions("assess")) == 1


def test_a_schema_of_another_subject_is_found_by_its_id(side: Side) -> None:
    """Ids belong to schemas: a reader that never heard of the subject finds it."""
    foreign = side.store_at(side.url, f"{side.namespace}.foreign")
    contract = side.contract(first)
    foreign.register(contract, Compatibility.NONE)
    value = foreign.frame(contract, contract.encode({"tail": "N1"}))
    assert Decoder(side.store("assess")).decode(side.contract(second), value) == {"tail": "N1", "delay": 0}


def test_a_real_registry_goes_on_after_its_subject_was_deleted(real: Side) -> None:
    """Jobs that wait are still read by their id, and the contract can be registered again."""
    value = real.frame(real.store(), first, tail="N1")
    real.ask("DELETE", f"/subjects/{real.namespace}.assess")
    store = real.store("assess")
    store.refresh(20)
    assert list(store.versions("assess")) == []
    again = real.frame(store, first, tail="N1")
    assert Decoder(real.store()).decode(real.contract(first), again) == {"tail": "N1"}
    assert value[:1] == again[:1] == b"\x00"


def test_a_real_registrys_references_are_followed(real: Side) -> None:
    """A schema that refers to another subject's is put together."""
    name = real.contract(first).schema.get("namespace", real.namespace)
    leg = {"type": "record", "name": "Leg", "namespace": name, "fields": [{"name": "to", "type": "string"}]}
    job = {"type": "record", "name": "job", "namespace": name, "fields": [{"name": "leg", "type": f"{name}.Leg"}]}
    real.ask("POST", f"/subjects/{real.namespace}.leg/versions", {"schema": json.dumps(leg)})
    references = [{"name": f"{name}.Leg", "subject": f"{real.namespace}.leg", "version": 1}]
    body = {"schema": json.dumps(job), "schemaType": "AVRO", "references": references}
    answer = real.ask("POST", f"/subjects/{real.namespace}.assess/versions", body)
    assert isinstance(answer, dict)
    value = b"\x00" + int(answer["id"]).to_bytes(4, "big") + b"\x06JFK"
    assert Decoder(real.store()).decode_as_written(value)[1] == {"leg": {"to": "JFK"}}
