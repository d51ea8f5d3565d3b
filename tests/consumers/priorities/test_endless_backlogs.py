"""Endless backlogs of all priorities: starts follow the weights, memory stays in its bounds."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import cast

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from stoker.consumers.in_flight.memory_bounds import MemoryBounds
from stoker.consumers.in_flight.settled import SettledBatches
from stoker.consumers.kafka.side_readers import PriorityReaders, SideReader
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.poll_loop.priority_fetching import PriorityFetching
from stoker.consumers.priorities.ready import ReadyRecords
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.settings import WorkerSettings
from stoker.consumers.sources.priorities import Priorities
from stoker.consumers.sources.source import MAIN, Priority, Source
from support.scenes.deliveries import declare

TURN_S = 0.001
TURNS = 2_000
STARTS_A_TURN = 4
FETCH_LIMIT = 500
SETTINGS = WorkerSettings()
TWO = {"normal": 3, "low": 1}
THREE = {"high": 8, "normal": 3, "low": 1}
FOUR = {"urgent": 8, "high": 4, "normal": 2, "low": 1}
FIVE = {"urgent": 8, "high": 5, "normal": 3, "low": 2, "bulk": 1}
HEAVY_LOW = {"high": 1, "normal": 1, "low": 20}


class EndlessConsumer:
    """Has always more jobs of one topic, unless it is paused."""

    def __init__(self, topic: str, size_bytes: int) -> None:
        self._topic, self._value = topic, b"x" * size_bytes
        self._offset = 0
        self.is_paused = False

    def consume(self, limit: int, _timeout_s: float) -> list[Message]:
        """Return as many as are asked for."""
        if self.is_paused:
            return []
        self._offset += limit
        return [
            Message(topic=self._topic, partition=0, offset=at, value=self._value, headers=[], timestamp=(1, 0))
            for at in range(self._offset - limit, self._offset)
        ]

    def pause(self, _places: list[TopicPartition]) -> None:
        """Have no more."""
        self.is_paused = True

    def resume(self, _places: list[TopicPartition]) -> None:
        """Have more again."""
        self.is_paused = False

    def incremental_assign(self, _places: list[TopicPartition]) -> None:
        """Every topic is read from the start."""

    def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Nobody needs to be woken."""
        return places


class UnwaitedBatches(SettledBatches):
    """The clock of the test passes by turns: there is nothing to wait for."""

    def wait(self, within_s: float = 0.0) -> None:
        """Return at once."""


class Scene:
    """A worker's turns: fetch, make ready, start and end, with `in_hand` jobs begun and not ended.

    Attributes:
        starts: {priority: jobs started}.
        most_held_bytes: the most that were in memory at once; `most_held` is their number.
    """

    def __init__(self, weights: dict[str, int], sizes_bytes: dict[str, int], in_hand: int) -> None:
        priorities = Priorities(weights)
        self.places = {
            name: Assignment(at, f"t.{name}", 0, source=_source(name), priorities=priorities)
            for at, name in enumerate(weights)
        }
        others = [name for name in weights if name != "normal"]
        clients = {name: EndlessConsumer(f"t.{name}", sizes_bytes[name]) for name in weights}
        readers = {Priority(name): SideReader(cast(Consumer, clients[name])) for name in others}
        for priority, reader in readers.items():
            reader.begin([TopicPartition(self.places[priority.priority].topic, 0, 0)])
        self.main = clients["normal"]
        records = ReadyRecords(priorities)
        self.ready = records.make()
        self.bounds = MemoryBounds(Assignments(declare().queue), SETTINGS, lambda: 0, UnwaitedBatches(), ready=records)
        self.fetching = PriorityFetching(PriorityReaders(readers), self.bounds)
        self.in_hand, self.most_in_hand = deque[Record](), in_hand
        self.held_bytes = self.most_held_bytes = self.most_held = 0
        self.starts = Counter[str]()

    def turn(self) -> None:
        """Fetch what finds room, then start and end some."""
        self._take(self.fetching.fetch())
        if self.bounds.may_fetch():
            self._take(self.main.consume(max(1, min(FETCH_LIMIT, self.bounds.room)), 0))
        else:
            self.bounds.rest(cast(Consumer, self.main))
        for _ in range(STARTS_A_TURN):
            self._start_one()

    def _take(self, messages: list[Message]) -> None:
        records = [Record(message, self.places[str(message.topic())[2:]]) for message in messages]
        if records:
            self.bounds.begin(records)
            self.ready.extend(records)
            self.held_bytes += sum(record.size_bytes for record in records)
            self.most_held_bytes = max(self.most_held_bytes, self.held_bytes)
            self.most_held = max(self.most_held, self.bounds.in_flight)

    def _start_one(self) -> None:
        if len(self.ready):
            record = self.ready.popleft()
            self.starts[record.priority] += 1
            self.in_hand.append(record)
        if len(self.in_hand) > self.most_in_hand or not len(self.ready):
            ended = self.in_hand.popleft()
            self.bounds.end([ended])
            self.held_bytes -= ended.size_bytes


def _source(name: str) -> Source:
    return MAIN if name == "normal" else Priority(name)


def run(
    monkeypatch: pytest.MonkeyPatch, weights: dict[str, int], sizes_bytes: dict[str, int], in_hand: int = 16
) -> Scene:
    """Let a worker run for two seconds."""
    now_s = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    scene = Scene(weights, sizes_bytes, in_hand)
    for _ in range(TURNS):
        now_s[0] += TURN_S
        scene.turn()
    return scene


def assert_shares(scene: Scene, weights: dict[str, int]) -> None:
    """Each priority has its share of the starts, within a tenth."""
    of_all = sum(scene.starts.values())
    wanted = {name: of_all * weight / sum(weights.values()) for name, weight in weights.items()}
    assert {name: scene.starts[name] for name in weights} == pytest.approx(wanted, rel=0.1)
    assert of_all == pytest.approx(TURNS * STARTS_A_TURN, rel=0.01), "runners waited beside a backlog"


@pytest.mark.parametrize("size_bytes", [200, 10_000, 64_000, 200_000])
@pytest.mark.parametrize("weights", [TWO, THREE, FOUR, FIVE, HEAVY_LOW], ids="-".join)
def test_starts_follow_the_weights_beside_endless_backlogs(
    monkeypatch: pytest.MonkeyPatch, weights: dict[str, int], size_bytes: int
) -> None:
    """Whatever the size of jobs and the number of priorities, each has its share, and memory stays in its bounds."""
    scene = run(monkeypatch, weights, dict.fromkeys(weights, size_bytes))
    assert_shares(scene, weights)
    assert scene.most_held <= SETTINGS.max_in_flight
    assert scene.most_held_bytes <= SETTINGS.max_in_flight_bytes + len(weights) * size_bytes, "one job each beyond"


@pytest.mark.parametrize(("normal_bytes", "others_bytes"), [(200, 200_000), (200_000, 200)])
def test_starts_follow_the_weights_where_sizes_differ(
    monkeypatch: pytest.MonkeyPatch, normal_bytes: int, others_bytes: int
) -> None:
    """Large jobs of one priority take no room from small ones of another."""
    scene = run(monkeypatch, THREE, {"high": others_bytes, "normal": normal_bytes, "low": others_bytes})
    assert_shares(scene, THREE)


def test_normal_jobs_go_on_while_others_in_hand_take_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 jobs in hand of 200 KB are more than the bound: one normal job finds room even so, time after time."""
    scene = run(monkeypatch, THREE, dict.fromkeys(THREE, 200_000), in_hand=1_000)
    assert scene.starts["normal"] > 0
