"""Making clients of Kafka: options that they refuse are an error of ours, and no secret is in its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from .settings import REDACTED, ClusterSettings, is_secret

Client = TypeVar("Client")

_ClientClass: TypeAlias = Callable[[dict[str, Any]], Client]
"""A class of clients; each has a type of its own for its options."""
_IS_FILE: Final = ".location"


class ClientOptionRefused(Exception):
    """Kafka's client does not know an option, or refuses its value; nothing was connected.

    Attributes:
        option: the option's name; `librdkafka` where the client does not name one.
        reason: what is wrong with it, without the values of secrets.
    """

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(
            f"the client option {option!r} cannot be used: {reason}. Fix it where it is given: `--option`, a "
            "STOKER_KAFKA_* variable, or ClusterSettings.options; librdkafka's CONFIGURATION.md has all options"
        )
        self.option, self.reason = option, reason


def make_client(kind: _ClientClass[Client], config: Mapping[str, object]) -> Client:
    """Make a consumer, producer or admin client.

    Raises:
        ClientOptionRefused: the options do not do.
    """
    try:
        return kind(dict(config))
    except (KafkaException, TypeError, ValueError) as refusal:
        fault = refused_option(refusal, config)
    raise fault  # without a cause, which may show values


def refused_option(refusal: Exception, config: Mapping[str, object]) -> ClientOptionRefused:
    """Say which option the client does not take, and why."""
    text = refusal.args[0].str() if isinstance(refusal, KafkaException) else str(refusal)
    fault = masked(text.strip(), config)
    option = max((name for name in config if name in fault), key=len, default="librdkafka")
    return ClientOptionRefused(option, _unreadable(option, config) or fault)


def _unreadable(option: str, config: Mapping[str, object]) -> str | None:
    """Why the file that an option names cannot be read; the client reports no more than `system lib`."""
    if not option.endswith(_IS_FILE):
        return None
    path = str(config[option])
    try:
        with open(path, "rb"):
            return None
    except OSError as failed:
        return f"{path} cannot be read: {failed.strerror}"


def masked(text: str, config: Mapping[str, object]) -> str:
    """The text without any of the configured secrets."""
    for name, value in config.items():
        if is_secret(name) and value and isinstance(value, str):
            text = text.replace(value, REDACTED)
    return text


def check_options(cluster: ClusterSettings) -> None:
    """See that a client can be made of the cluster's options; nothing is connected.

    Raises:
        ClientOptionRefused: it cannot.
    """
    make_client(AdminClient, cluster.client_config(log_level=0) | {"bootstrap.servers": ""})
