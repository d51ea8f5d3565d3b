"""Contracts whose schema is given as `.avsc`: how it goes with the job's parameters, and when it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stoker.schemas import Contract, ContractRefused, PayloadRefused
from support.scenes.payload_types import Cabin

GIVEN = {
    "type": "record",
    "name": "Assess",
    "fields": [
        {"name": "tail", "type": "string"},
        {"name": "delay", "type": "int", "default": 7},
        {"name": "cabin", "type": {"type": "enum", "name": "Cabin", "symbols": ["COACH", "FIRST"]}},
        {"name": "digest", "type": {"type": "fixed", "name": "Digest", "size": 2}},
    ],
}


def test_a_given_schema_goes_with_the_parameters_by_name(tmp_path: Path) -> None:
    """An .avsc file rules: its types, ranges and defaults hold, and the parameters' classes are rebuilt."""

    def job(tail: str, cabin: Cabin, digest: bytes, delay: int = 0) -> None: ...

    path = tmp_path / "assess.avsc"
    path.write_text(json.dumps(GIVEN))
    contract = Contract.of_avsc(job, path, job_type="j", namespace="air")
    assert contract.codec.name == "air.Assess"
    payload = contract.payload(("N1", Cabin.FIRST, b"ab"), {})
    assert payload == {"tail": "N1", "delay": 7, "cabin": "FIRST", "digest": b"ab"}
    datum = contract.codec.decode(contract.encode(payload), 0)
    assert contract.arguments(datum) == ((), {**payload, "cabin": Cabin.FIRST})
    for wrong in ({"delay": 2**31}, {"digest": b"abc"}):
        with pytest.raises(PayloadRefused):
            contract.payload(("N1",), {"cabin": Cabin.FIRST, "digest": b"ab", **wrong})


def test_a_given_schema_may_go_to_one_dict() -> None:
    """A single parameter annotated as a dict takes the record as a whole, with symbols as text."""

    def job(payload: dict[str, Any]) -> None: ...

    contract = Contract.of_avsc(job, GIVEN, job_type="j", namespace="air")
    value = {"tail": "N1", "delay": 1, "cabin": "COACH", "digest": b"ab"}
    assert contract.arguments(contract.codec.decode(contract.encode(contract.payload((value,), {})), 0)) == (
        (value,),
        {},
    )


@pytest.mark.parametrize(
    ("types", "name", "part"),
    [
        ({"tail": str, "delay": int, "cabin": Cabin}, "digest", "in the schema only"),
        ({"tail": str, "delay": int, "cabin": Cabin, "digest": bytes, "x": int}, "x", "not in the schema"),
        ({"tail": int, "delay": int, "cabin": Cabin, "digest": bytes}, "tail", "annotated int"),
        ({"tail": str, "delay": int, "cabin": int, "digest": bytes}, "cabin", "annotated int"),
    ],
)
def test_a_given_schema_that_disagrees_with_the_function_is_refused(types: Any, name: str, part: str) -> None:
    """A function and an .avsc that do not go together are refused at declaration, naming the field."""
    source = f"def job({', '.join(types)}): ..."
    scope: dict[str, Any] = {}
    exec(source, scope)
    scope["job"].__annotations__ = types
    with pytest.raises(ContractRefused, match=part) as refused:
        Contract.of_avsc(scope["job"], GIVEN, job_type="j", namespace="air")
    assert refused.value.parameter == name


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "R", "fields": [{"name": "p", "type": "Nowhere"}]},
        {"type": "record", "name": "R", "fields": [{"name": "p", "type": ["null", "R"]}]},
        {"type": "record", "name": "R", "fields": [{"name": "p", "type": ["double", {"type": "double"}]}]},
        {"type": "array", "items": "long"},
        {"type": "record", "fields": []},
        {"type": "record", "name": 5, "fields": []},
    ],
)
def test_a_given_schema_that_no_worker_could_read_safely_is_refused(schema: dict[str, Any]) -> None:
    """Invalid, recursive and ambiguous schemas are refused at declaration."""

    def job(payload: dict[str, Any]) -> None: ...

    with pytest.raises(ContractRefused):
        Contract.of_avsc(job, schema, job_type="j", namespace="air")
