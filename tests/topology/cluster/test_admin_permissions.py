"""What a client gets that may not do what it asks. The answers are made up: the tests' broker has no ACLs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stoker.topology import ClusterSettings, ClusterUnreachable, NotAuthorized
from stoker.topology.cluster.admin import Administration
from stoker.topology.declaration.topics import declared_topics
from support.scenes.declarations import shop

TOPIC = "shop.mails"


class _Answering:
    """An admin client that gives each request about the topic the same error."""

    def __init__(self, code: int) -> None:
        self._code = code

    def poll(self, timeout_s: float) -> int:
        return 0

    def __getattr__(self, request: str) -> Callable[..., dict[Any, Future[Any]]]:
        def answer(about: Any, **_options: Any) -> dict[Any, Future[Any]]:
            future: Future[Any] = Future()
            future.set_exception(KafkaException(KafkaError(self._code)))
            resources = about if request == "describe_configs" or "alter" in request else [TOPIC]
            return dict.fromkeys(resources, future)

        return answer


def _administration(monkeypatch: pytest.MonkeyPatch, code: int) -> Administration:
    administration = Administration(ClusterSettings(bootstrap_servers="127.0.0.1:1"))
    monkeypatch.setattr(administration, "_admin", _Answering(code))
    return administration


@pytest.mark.parametrize(
    ("ask", "operation"),
    [
        (lambda administration: administration.topics([TOPIC]), "Describe"),
        (lambda administration: administration.configs([TOPIC]), "DescribeConfigs"),
    ],
)
def test_a_forbidden_question_names_the_missing_acl(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Administration], object], operation: str
) -> None:
    """The error names the ACL operation and the topic, so that an administrator can grant it."""
    administration = _administration(monkeypatch, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(NotAuthorized, match=f"{operation} on topic {TOPIC}") as refused:
        ask(administration)
    assert (refused.value.operation, refused.value.resource) == (operation, f"topic {TOPIC}")


@pytest.mark.parametrize(
    ("order", "operation"),
    [
        (lambda administration: administration.create(declared_topics(shop())[:1]), "Create"),
        (lambda administration: administration.grow({TOPIC: 3}), "Alter"),
        (lambda administration: administration.set_configs({TOPIC: {"retention.ms": "1"}}), "AlterConfigs"),
        (lambda administration: administration.delete([TOPIC]), "Delete"),
    ],
)
def test_a_forbidden_step_is_a_failure_of_its_topic(
    monkeypatch: pytest.MonkeyPatch, order: Callable[[Administration], dict[str, str]], operation: str
) -> None:
    """Steps fail topic by topic, so that the rest is done; each reason names the missing ACL operation."""
    administration = _administration(monkeypatch, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert f"{operation} on topic {TOPIC}" in order(administration)[TOPIC]


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN])
def test_a_cluster_that_goes_away_is_unreachable(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """No answer to a step is no failure of that topic, but of the cluster."""
    with pytest.raises(ClusterUnreachable):
        _administration(monkeypatch, code).grow({TOPIC: 3})


def test_any_other_answer_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this layer has no better words for stays Kafka's own error, with its code."""
    with pytest.raises(KafkaException) as passed_on:
        _administration(monkeypatch, KafkaError.INVALID_REQUEST).topics([TOPIC])
    assert passed_on.value.args[0].code() == KafkaError.INVALID_REQUEST
