"""Contracts as committed files, and Stoker's own schemas."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stoker.schemas import (
    Compatibility,
    Contract,
    IncompatibleSchema,
    PayloadRefused,
    SchemaFileBroken,
    SchemaMismatch,
    StoredSchema,
    Undecodable,
    UnknownSchema,
    compare,
    decode_own,
    encode_own,
    export,
    load,
    own_schema,
)

AT = datetime(2013, 1, 1, 5, 17, tzinfo=UTC)


def first(tail: str) -> None:
    """Have the first version of a contract."""


def second(tail: str, delay: int = 0) -> None:
    """Add a field with a default."""


def breaking(tail: int, must: int) -> None:
    """Change a field, and add one without a default."""


def contract_of(function: Callable[..., object], job_type: str = "claims.assess") -> Contract:
    """Make a version of a job type."""
    return Contract.of_function(function, job_type=job_type, namespace="n")


def stored(function: Callable[..., object]) -> StoredSchema:
    """Describe a version as a store does."""
    contract = contract_of(function)
    return StoredSchema(
        job_type=contract.job_type, frame_id=contract.fingerprint, schema=contract.schema, registered_at=AT
    )


def test_exported_files_are_the_contracts(tmp_path: Path) -> None:
    """Each contract is written as `<job type>.avsc`, the same bytes each time, and read back as it was."""
    contracts = [contract_of(second), contract_of(first, "bills")]
    paths = export(contracts, tmp_path / "schemas")
    assert [path.name for path in paths] == ["bills.avsc", "claims.assess.avsc"]
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in export(reversed(contracts), tmp_path / "schemas")] == before
    assert all(text.endswith(b"}\n") and b"\r" not in text for text in before)
    assert load(tmp_path / "schemas") == {contract.job_type: contract.schema for contract in contracts}
    assert load(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "X"}]}']
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    """A file that is no Avro schema is told by its name."""
    (tmp_path / "claims.assess.avsc").write_text(text)
    with pytest.raises(SchemaFileBroken, match=r"claims\.assess\.avsc"):
        load(tmp_path)


def test_nothing_is_found_where_all_agree() -> None:
    """Code, files and cluster that agree give no findings."""
    files = {"claims.assess": contract_of(second).schema}
    stores = {"claims.assess": [stored(first), stored(second)]}
    assert compare([contract_of(second)], files, stores, Compatibility.FULL_TRANSITIVE) == []


def test_drift_from_the_files_is_found_by_field() -> None:
    """A field that the committed file lacks, a file without job type, and a job type without file are found."""
    contracts = [contract_of(second), contract_of(first, "bills")]
    files = {"claims.assess": contract_of(first).schema, "gone": contract_of(first).schema}
    found = compare(contracts, files, {}, Compatibility.BACKWARD)
    assert [(one.job_type, one.against, one.rule, one.field) for one in found] == [
        ("bills", "files", "drift", ""),
        ("claims.assess", "files", "drift", "delay"),
        ("gone", "files", "drift", ""),
    ]


def test_breaks_with_the_cluster_are_found_by_rule_and_field() -> None:
    """A contract that breaks the versions in the cluster gives each rule and field."""
    files = {"claims.assess": contract_of(breaking).schema}
    found = compare([contract_of(breaking)], files, {"claims.assess": [stored(first)]}, Compatibility.BACKWARD)
    assert [(one.against, one.rule, one.field) for one in found] == [
        ("cluster", "BACKWARD (field-without-default)", "must"),
        ("cluster", "BACKWARD (type)", "tail"),
    ]


def test_a_version_the_cluster_accepted_stays_accepted() -> None:
    """Code that is rolled back to an earlier version is no break, whatever came after it."""
    stores = {"claims.assess": [stored(first), stored(breaking)]}
    files = {"claims.assess": contract_of(first).schema}
    assert compare([contract_of(first)], files, stores, Compatibility.FULL) == []


def test_stokers_own_records_come_back_as_they_were() -> None:
    """Ledger entries and job events are written framed, and read back; missing optional fields take defaults."""
    entry = {"outcome": "done", "at": AT}
    assert decode_own("LedgerEntry", encode_own("LedgerEntry", entry)) == entry
    event = {
        "event": "retried", "job_id": "1", "job_type": "t", "queue": "q", "topic": "n.q", "partition": 0,
        "offset": 5, "attempt": 0, "at": AT,
    }  # fmt: skip
    texts = ("worker", "release", "reason", "message", "error_type", "fingerprint", "stack", "tenant", "key", "replay")
    times = ("enqueued", "began", "due")
    defaults = dict.fromkeys(texts, "") | dict.fromkeys(times) | {"detail": {}}
    assert decode_own("JobEvent", encode_own("JobEvent", event)) == {**event, **defaults}
    assert own_schema("JobEvent")["namespace"] == "stoker.events"


def test_what_is_not_an_own_record_is_reported() -> None:
    """A tombstone or garbage is undecodable; another schema's frame is unknown."""
    for value in (None, b"", b"\xc3\x01\x00", b"{" * 20):
        with pytest.raises(Undecodable):
            decode_own("LedgerEntry", value)
    with pytest.raises(UnknownSchema):
        decode_own("JobEvent", encode_own("LedgerEntry", {"outcome": "done", "at": AT}))


@pytest.mark.parametrize(
    "error",
    [
        PayloadRefused("j", "a.b", "is wrong"),
        IncompatibleSchema("j", "BACKWARD", "a", "why"),
        SchemaMismatch("a", "why", True),
        UnknownSchema(b"12345678"),
        Undecodable("why"),
    ],
)
def test_errors_cross_process_boundaries(error: Exception) -> None:
    """An error that was pickled says and carries what it did before."""
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))
