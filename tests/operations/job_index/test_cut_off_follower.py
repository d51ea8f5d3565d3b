"""A follower that the brokers do not answer claims nothing of how new its index is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from stoker.operations.job_index import index_metrics, topic_follower
from stoker.operations.job_index.bulk_fill import BulkFill
from stoker.operations.job_index.database import IndexDeleted, open_for_writing, throw_away
from stoker.operations.job_index.entries import TopicOrigin
from stoker.operations.job_index.index_metrics import IndexMetrics
from stoker.operations.job_index.index_reader import IndexReader
from stoker.operations.job_index.topic_follower import TopicFollower
from stoker.operations.job_index.topic_reading import make_reader
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.cluster.forgotten_brokers import LastingConsumer
from stoker.topology.declaration.topics import Role
from support.sight.index import Index

NOWHERE = ClusterSettings(bootstrap_servers="127.0.0.1:1")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1)


class Client:
    """Has one empty partition of each topic; what it has once learnt it tells also while it is cut off."""

    def __init__(self, topics: Sequence[str]) -> None:
        self.topics = topics
        self.is_up = True
        self.without_leader: set[str] = set()

    def list_topics(self, timeout: float) -> SimpleNamespace:
        self._answer()
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions={0: None}) for topic in self.topics})

    def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self._answer()
        if any(place.topic in self.without_leader for place in places):
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        return [TopicPartition(place.topic, place.partition, 0) for place in places]

    def get_watermark_offsets(self, _place: TopicPartition, **named: Any) -> tuple[int, int]:
        if not named.get("cached"):
            self._answer()
        return 0, 0

    def consume(self, _most: int, _timeout_s: float) -> list[Any]:
        return []

    def _answer(self) -> None:
        if not self.is_up:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def follow(monkeypatch: pytest.MonkeyPatch, client: Client, path: Path) -> TopicFollower:
    """Begin to follow the topics of a queue, by this client, in an index that is there and empty."""
    monkeypatch.setattr(topic_follower, "make_reader", lambda *_: client)
    pipeline = Pipeline("shop")
    pipeline.queue("mails", partitions=1)
    Index(path).connection.close()
    return TopicFollower(pipeline, NOWHERE, path, keep=timedelta(days=7))


def read_at(path: Path) -> datetime | None:
    """When the index was as new as it claims."""
    with IndexReader(path) as reader:
        return reader.state().read_at


def test_an_index_that_is_cut_off_does_not_claim_to_be_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client returns nothing and does not answer: it ages, and is not ready; when brokers answer, it is fresh."""
    client, path = Client(["shop.mails"]), tmp_path / "index.sqlite"
    monkeypatch.setattr(topic_follower, "LAGS_INTERVAL_S", 0.0)
    follower, measured = follow(monkeypatch, client, path), IndexMetrics(path)
    follower.turn()
    assert read_at(path) is not None
    measured.note(follower.progress)
    follower.progress.is_caught_up = True
    assert measured.ready().is_well
    follower._writer.set_fact("read_at_ms", "1")
    client.is_up = False
    follower.progress.is_caught_up = False
    follower.turn()
    assert read_at(path) == LONG_AGO
    follower.progress.is_caught_up = True
    monkeypatch.setattr(index_metrics, "SILENT_AFTER_S", 0.0)
    assert "no broker has answered" in measured.ready().why[0]
    client.is_up = True
    follower.progress.is_caught_up = False
    follower.turn()
    assert read_at(path) != LONG_AGO
    follower.close()


def test_new_partitions_without_a_leader_do_not_end_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker names partitions before they have a leader, and may go away right after: they are asked for again."""
    client = Client(["shop.mails"])
    monkeypatch.setattr(topic_follower, "TOPICS_INTERVAL_S", 0.0)
    follower = follow(monkeypatch, client, tmp_path / "index.sqlite")
    follower.turn()
    client.topics, client.without_leader = ["shop.mails", "shop.mails.dead"], {"shop.mails.dead"}
    follower.turn()
    assert follower._assigned == {("shop.mails", 0)}
    client.without_leader = set()
    follower.turn()
    assert follower._assigned == {("shop.mails", 0), ("shop.mails.dead", 0)}
    follower.close()


def test_a_topic_that_is_deleted_before_its_end_was_read_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the index never counts as caught up: it reads no ledger, and forgets nothing."""
    client = Client(["shop.mails", "shop.mails.dead"])
    monkeypatch.setattr(topic_follower, "TOPICS_INTERVAL_S", 0.0)
    follower = follow(monkeypatch, client, tmp_path / "index.sqlite")
    follower.turn()
    follower._note_end(("shop.mails", 0), 0)
    assert not follower.progress.is_caught_up
    client.topics = ["shop.mails"]
    follower.turn()
    assert follower.progress.is_caught_up
    follower.close()


def test_a_topic_that_is_deleted_while_the_index_is_built_is_not_waited_for(tmp_path: Path) -> None:
    """Else it is never finished, and no reader can ask it."""
    client, connection = Client([]), open_for_writing(tmp_path / "index.sqlite")
    gone = Message(topic="shop.mails", partition=0, error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    client.consume = lambda *_: [gone]  # type: ignore[method-assign]
    origins = {"shop.mails": TopicOrigin(queue="mails", role=Role.MAIN)}
    building = BulkFill(connection, lambda: cast(Any, client), origins, {("shop.mails", 0): 0})
    assert building.turn(lambda: False)
    assert building.stage.startswith("adding indexes")
    building.close()
    connection.close()


def test_an_index_that_is_deleted_under_its_process_is_not_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written to a file without a name no reader finds, while the process looks healthy."""
    path, client = tmp_path / "index.sqlite", Client(["shop.mails"])
    monkeypatch.setattr(topic_follower, "LAGS_INTERVAL_S", 0.0)
    follower = follow(monkeypatch, client, path)
    follower.turn()
    throw_away(path)
    with pytest.raises(IndexDeleted):
        follower.run(lambda: False)
    follower = TopicFollower(follower._pipeline, NOWHERE, path, keep=timedelta(days=7))
    follower.turn()
    follower.close()


def test_the_client_of_an_index_lasts() -> None:
    """It is given its brokers again where it has forgotten them."""
    client = make_reader(NOWHERE, "shop", lambda _error: None)
    assert isinstance(client, LastingConsumer)
    client.close()
