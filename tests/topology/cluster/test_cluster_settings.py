"""The cluster's settings, the store they choose, and the words for types and lengths of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stoker.schemas import TopicSchemaStore
from stoker.schemas.codec.schema import Schema
from stoker.schemas.stores.registry_store import RegistrySchemaStore
from stoker.topology import ClusterSettings, InvalidDeclaration, NoCluster, Pipeline
from stoker.topology.cluster.settings import option_name
from stoker.topology.declaration.catalogue import type_in_words
from stoker.topology.durations import format_retention
from stoker.topology.planning.schema_store import schema_store
from support.scenes.declarations import shop


def test_secrets_are_shown_nowhere() -> None:
    """Neither repr nor the shown options hold a password; the client gets it."""
    settings = ClusterSettings(bootstrap_servers="kafka:9092", options={"sasl.password": "hunter2"})
    assert "hunter2" not in f"{settings!r} {settings} {settings.shown()}"
    assert settings.client_config()["sasl.password"] == "hunter2"


def test_the_environment_names_every_client_option() -> None:
    """STOKER_KAFKA_* becomes librdkafka's option, also where that one has an underscore of its own."""
    found = ClusterSettings.from_environment(
        {
            "STOKER_BOOTSTRAP_SERVERS": "kafka:9092",
            "STOKER_KAFKA_SASL_MECHANISM": "PLAIN",
            "STOKER_KAFKA_LOG_LEVEL": "3",
            "STOKER_SCHEMA_REGISTRY_URL": "http://registry:8081",
        }
    )
    assert found.client_config() == {"bootstrap.servers": "kafka:9092", "sasl.mechanism": "PLAIN", "log_level": "3"}
    assert found.schema_registry_url == "http://registry:8081"
    assert option_name("client_id") == "client.id"


def test_options_of_the_user_win_over_defaults() -> None:
    """What a user sets is not overruled by a default, except the address."""
    settings = ClusterSettings(bootstrap_servers="kafka:9092", options={"client.id": "mine"})
    assert settings.client_config(client_id="ours", linger_ms=5)["client.id"] == "mine"


def test_without_a_cluster_the_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting and no embedded broker: the message names both."""
    monkeypatch.setenv("STOKER_HOME", str(tmp_path))
    with pytest.raises(NoCluster, match=r"STOKER_BOOTSTRAP_SERVERS=host:port, or run `stoker broker start`"):
        ClusterSettings.from_environment({})


def test_the_schema_store_follows_the_settings() -> None:
    """A registry's URL chooses the registry, else the schemas topic; nothing is connected by that."""
    plain = ClusterSettings(bootstrap_servers="127.0.0.1:1")
    with_registry = ClusterSettings(bootstrap_servers="127.0.0.1:1", schema_registry_url="http://127.0.0.1:1")
    assert isinstance(schema_store(shop(), plain), TopicSchemaStore)
    assert isinstance(schema_store(shop(), with_registry), RegistrySchemaStore)


@pytest.mark.parametrize(
    ("avro", "words"),
    [
        ("long", "long"),
        (["null", "string"], "string or null"),
        ({"type": "map", "values": {"type": "array", "items": "int"}}, "map of array of int"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "decimal"),
        ({"type": "enum", "name": "Colour", "symbols": ["RED"]}, "enum Colour"),
        ({"type": "string"}, "string"),
    ],
)
def test_avro_types_in_words(avro: Schema, words: str) -> None:
    """People read the type, not its JSON."""
    assert type_in_words(avro) == words


@pytest.mark.parametrize(("retention_ms", "words"), [(-1, "unlimited"), (60_000, "1m"), (604_800_000, "7d")])
def test_retentions_in_words(retention_ms: int, words: str) -> None:
    """Kafka's -1 is for ever; the rest is a length of time."""
    assert format_retention(retention_ms) == words


@pytest.mark.parametrize("ordering", ["Strict", "strct", "", None])
def test_an_unknown_ordering_is_refused(ordering: Any) -> None:
    """A misspelt "strict" must not silently keep less order than was asked for."""
    with pytest.raises(InvalidDeclaration, match=f"ordering must be one of key, none, strict; it is {ordering!r}"):
        Pipeline("shop").queue("mails", ordering=ordering)
