"""Records that wait for their schema: held, asked for, released, and given back, without a broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from stoker.consumers.gates.gate import Wait
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.settling.excuse import Excuse
from stoker.consumers.steps.pipe import Pipe
from stoker.consumers.steps.schema_waits import MAX_SCHEMAS, AwaitedSchema, SchemaAwaited, SchemaWaits
from stoker.schemas import Decoder, StoredSchema, StoreError
from stoker.schemas.codec.schema import RecordSchema
from stoker.schemas.errors import RegistryUnreachable
from support.scenes.deliveries import EmptyStore, declare, plain_record
from support.waiting import wait_until

SCHEMA: RecordSchema = {"type": "record", "name": "job", "fields": []}


class Store(EmptyStore):
    """A store that answers when it is let, and knows what it is given."""

    def __init__(self) -> None:
        self.known: set[bytes | int] = set()
        self.learned: set[bytes | int] = set()
        self.failure: StoreError | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = 0

    def writer_schema(self, frame_id: bytes | int) -> StoredSchema | None:
        """From memory."""
        if frame_id not in self.learned:
            return None
        return StoredSchema(job_type="", frame_id=frame_id, schema=SCHEMA, registered_at=datetime.now(UTC))

    def refresh(self, timeout_s: float) -> None:
        """Learn what is known, or fail."""
        self.asked += 1
        assert self.may_answer.wait(30)
        if self.failure is not None:
            raise self.failure
        self.learned |= self.known


def awaits(frame_id: bytes | int) -> Wait:
    """What decoding gives for a record of this schema."""
    return Wait(until_at_s=None, why=AwaitedSchema(frame_id))


class Scene:
    """The waits of one queue, and what they have released."""

    def __init__(self) -> None:
        self.store, self.now_s = Store(), 0.0
        self.released, self.deferred = list[Record](), list[Record]()
        self.gates = GateRow()
        self.gates.start(self.released.extend)
        self.waits = SchemaWaits(self.store, "q", self.gates.wait_set, self.gates.view, clock=lambda: self.now_s)
        self.assignment = Assignment(1, "t", 0)

    def hold(self, *frames: bytes | int) -> list[Record]:
        """Hold a record of each schema."""
        records = [plain_record(number, None, self.assignment) for number, _ in enumerate(frames)]
        for record, frame in zip(records, frames, strict=True):
            assert self.gates.wait_set.add_sent_back(record, awaits(frame))
            self.waits.note_held(awaits(frame))
        return records

    def wait_asked_again(self) -> None:
        """Wait until the store was asked since now, and its answer dealt with."""
        asked = self.store.asked
        wait_until(lambda: self.store.asked >= asked + 2, 60, "the store to be asked twice")

    def is_unknown(self, frame_id: bytes | int) -> bool:
        """Whether a record of this schema is to be taken for one of an unknown schema."""
        try:
            self.waits.learn(frame_id)
        except SchemaAwaited:
            return False
        return True


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Waits that ask."""
    scene = Scene()
    scene.waits.start(scene.deferred.extend)
    yield scene
    scene.store.may_answer.set()
    scene.waits.stop()
    scene.waits.thread.join(30)
    assert scene.waits.thread.crashed is None


def test_known_and_unknown_schemas_are_released_with_one_question(scene: Scene) -> None:
    """After it the one can be read, and the other is unknown: at once for what waited, for a while for what comes."""
    scene.store.may_answer.clear()
    scene.hold(1)
    wait_until(lambda: scene.store.asked == 1)
    (_, unknown) = scene.hold(2, 3)
    scene.store.known = {1, 2}
    scene.store.may_answer.set()
    wait_until(lambda: len(scene.released) == 2)
    assert (scene.store.asked, scene.deferred) == (2, [unknown])
    assert (scene.is_unknown(3), scene.is_unknown(4)) == (True, False)
    scene.now_s += 11
    assert not scene.is_unknown(3)


def test_a_record_that_decoding_sends_back_is_asked_for(scene: Scene) -> None:
    """The pipe puts it at the gates first: what is asked for is the schemas of those that wait there."""
    delivery = declare(work)
    context = replace(
        delivery.step_context,
        decoder=Decoder(scene.store, learn=scene.waits.learn),
        gates=scene.gates,
        note_held=scene.waits.note_held,
    )
    pipe = Pipe(context, settle=fail, settle_done=fail, fail=fail, excuse=Excuse(delivery.queue))
    record = delivery.record(value=b"\xc3\x01" + b"unknown!", assignment=scene.assignment)
    pipe.pass_through(record, None, fail)
    wait_until(lambda: scene.deferred == [record])


def work(number: int) -> None:
    """Never called."""


def fail(*met: object) -> Any:
    """Neither an outcome nor a run is due."""
    raise AssertionError(met)


def test_an_outage_releases_nothing_and_makes_nothing_unknown(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """A short one is reported once; the first answer after it lets all go, which is here that nobody knows them."""
    scene.store.failure = RegistryUnreachable("http://r", "no leader")
    scene.hold(1, 2)
    wait_until(lambda: scene.store.asked >= 3)
    assert (scene.released, scene.gates.view.count, scene.is_unknown(1)) == ([], 2, False)
    assert "no leader" in str(scene.waits.trouble)
    scene.store.failure = None
    wait_until(lambda: len(scene.deferred) == 2, 60)
    assert scene.waits.trouble is None
    assert sum(" for a schema: " in message for message in caplog.messages) == 1


def test_an_outage_that_lasts_is_reported_again_every_ten_minutes(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """However often the store is asked meanwhile."""
    scene.store.failure = RegistryUnreachable("http://r", "no leader")
    scene.hold(1)
    for reports, later_s in ((1, 599.0), (1, 1.0), (2, 0.0)):
        scene.wait_asked_again()
        assert sum(" for a schema: " in message for message in caplog.messages) == reports
        scene.now_s += later_s


def test_what_the_store_has_learned_is_released_also_if_it_fails_at_others(scene: Scene) -> None:
    """One schema that cannot be had keeps no other record waiting."""
    scene.store.failure = RegistryUnreachable("http://r", "no luck")
    (_, known) = scene.hold(1, 2)
    scene.store.learned = {2}
    wait_until(lambda: scene.released == [known])
    assert scene.gates.view.count == 1


def test_records_of_partitions_that_go_away_are_given_back(scene: Scene) -> None:
    """So that no shutdown waits for them; none is taken any more after that."""
    scene.store.failure = RegistryUnreachable("http://r", "no leader")
    records = scene.hold(1, 2)
    scene.assignment.leave()
    assert sorted(r.offset for r in scene.gates.wait_set.drop([scene.assignment])) == [r.offset for r in records]
    assert not scene.gates.wait_set.add_sent_back(records[0], awaits(1))
    assert scene.gates.view.count == 0


def test_a_flood_of_schemas_that_nobody_knows_is_deferred_unasked(scene: Scene) -> None:
    """Bad bytes must not become a flood of questions; in an outage all wait, since none is known to be bad."""
    scene.store.may_answer.clear()
    scene.hold(*range(MAX_SCHEMAS))
    assert (scene.is_unknown(MAX_SCHEMAS), scene.is_unknown(0)) == (True, False)
    scene.store.failure = RegistryUnreachable("http://r", "no leader")
    scene.store.may_answer.set()
    wait_until(lambda: scene.waits.trouble is not None)
    assert not scene.is_unknown(MAX_SCHEMAS)


def test_a_fault_of_its_own_is_reported_so_that_the_worker_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its records would wait for ever, in silence."""
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    scene = Scene()
    scene.store.failure = ValueError("a bug")  # type: ignore[assignment]
    scene.waits.start(scene.deferred.extend)
    scene.hold(1)
    wait_until(lambda: isinstance(scene.waits.thread.crashed, ValueError))
