"""What a story tells of a job's arguments: all of them, as far as they can be read, and are no more than it bears."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import Message

from stoker.consumers.followers.story_arguments import LONGEST_JSON_BYTES, StoryArguments
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.schemas import Compatibility, Contract, MemorySchemaStore
from stoker.topology import AnyJobType, Pipeline

FRAME = len('{"note": ""}')


class Site:
    """A store that knows the contract of a job type, and what its stories tell."""

    def __init__(self) -> None:
        pipeline = Pipeline("unit")

        def note(note: str) -> None:
            """Nothing."""

        self.job_type: AnyJobType = pipeline.job(pipeline.queue("q"))(note)
        self.store = MemorySchemaStore()
        self.store.register(self.job_type.contract)
        self.told = StoryArguments(self.store)

    def value(self, contract: Contract, *args: object) -> bytes:
        """A payload as producers frame it."""
        return self.store.frame(contract, contract.encode(contract.payload(args, {})))


def record_of(value: bytes | None) -> Record:
    """A record with this value."""
    message = Message(
        topic="t", partition=0, offset=0, key=None, value=value, headers=[("ce_type", b"note")], timestamp=(1, 0)
    )
    return Record(message, Assignment(1, "t", 0))


@pytest.mark.parametrize(
    ("letter", "size"), [("x", LONGEST_JSON_BYTES - FRAME), ("é", LONGEST_JSON_BYTES // 2 - FRAME)]
)
def test_arguments_are_told_up_to_their_limit_in_bytes(letter: str, size: int) -> None:
    """The job type's name is not needed for that: what was written tells its own fields."""
    site = Site()
    record = record_of(site.value(site.job_type.contract, letter * size))
    for job_type in (site.job_type, None):
        assert json.loads(site.told.of(record, job_type) or "") == {"note": letter * size}
    too_large = record_of(site.value(site.job_type.contract, letter * (size + FRAME)))
    assert site.told.of(too_large, site.job_type) is None


def test_what_todays_contract_cannot_read_is_told_as_it_was_written() -> None:
    """A job that is dead because its schema does not resolve any more is followed with its arguments."""
    site = Site()

    def count(count: int) -> None:
        """Nothing."""

    older = Contract.of_function(count, job_type="note", namespace="unit")
    site.store.register(older, Compatibility.NONE)
    assert json.loads(site.told.of(record_of(site.value(older, 7)), site.job_type) or "") == {"count": 7}


@pytest.mark.parametrize("value", [None, b"", b"damaged", b"\xc3\x01unknown.body", b"\x00\x00\x00\x00\x07body"])
def test_what_cannot_be_read_is_not_told(value: bytes | None) -> None:
    """Nobody is asked for a schema that is not known by now."""
    site = Site()
    assert site.told.of(record_of(value), site.job_type) is None
    assert site.told.of(record_of(value), None) is None
