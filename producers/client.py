"""librdkafka's producer with the guarantees kept: options that would weaken them are refused, logs carry no secrets.

Everything in Stoker that writes to Kafka builds its client from `producer_config`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from ..topology.cluster.clients import refused_option
from ..topology.cluster.forgotten_brokers import LastingProducer, lasting
from ..topology.cluster.kafka_errors import Remedy, as_error, codes_of
from ..topology.cluster.settings import ClusterSettings, Option, is_secret
from .errors import SettingRefused

_LOGGER = logging.getLogger("stoker.producers")

GUARANTEES: Final[Mapping[str, tuple[Option, str]]] = {
    "acks": ("all", "a confirmed job must survive the loss of the partition's leader"),
    "enable.idempotence": (True, "a resent request must not publish a job twice, nor out of order"),
    "partitioner": ("murmur2_random", "every client must send a key to the same partition"),
}
_ALIASES: Final = {"request.required.acks": "acks", "metadata.broker.list": "bootstrap.servers"}
_SAME_AS_ALL: Final = ("all", "-1")
_OF_OTHER_CLIENTS: Final = "will be ignored by this"
"""In the warning that a producer has an option of consumers, or the reverse: the cluster's options are for both."""

_DETAILS: Final = (
    _OF_OTHER_CLIENTS,
    "enable.gapless.guarantee is experimental",
    "unable to satisfy gap-less guarantee",
    "not found in cache",
)
"""The second and third are of the outbox's relay: it wants its client to stop where a record is refused, and reports
that. The last one is reported of each partition that has no leader, again and again while an outage ends."""

_DEFAULTS: Final[Mapping[str, Option]] = {
    "client.id": "stoker-producer",
    # Below the brokers' usual message.max.bytes (1,048,588), so that no batch is refused for being one.
    "batch.size": 1_000_000,
    # Above it, so that it is the broker who limits a record, and the limit is raised in one place.
    "message.max.bytes": 16_000_000,
    # A missing topic is reported within this time; the default of 30 s would outlast the wait for a confirmation.
    "topic.metadata.propagation.max.ms": 5_000,
    # Topics may grow, or be created again, under a running client; the default of 5 min is how long it would not know.
    "topic.metadata.refresh.interval.ms": 10_000,
    "retry.backoff.ms": 50,
    "reconnect.backoff.max.ms": 2_000,
}


LARGE_RECORDS: Final[Mapping[str, Option]] = {
    # Brokers measure what is left after compression.
    "compression.type": "zstd",
    # What other clients take as well: librdkafka refuses to decompress more by default.
    "message.max.bytes": 100_000_000,
}
"""For clients that write again what others have published, of any size; they win over the cluster's options."""


def producer_config(cluster: ClusterSettings, **overrides: Option) -> dict[str, Option]:
    """Build librdkafka's options for a producer that keeps Stoker's guarantees.

    Args:
        overrides: options of the calling part, written with `_` for `.`; the cluster's own options win over them.

    Raises:
        SettingRefused: the cluster's options or the overrides weaken acks, idempotence or partitioning.
    """
    written = {_written(name): value for name, value in overrides.items()}
    given = {_ALIASES.get(name, name): value for name, value in (*written.items(), *cluster.options.items())}
    merged = {**_DEFAULTS, **given}
    for option, (value, reason) in GUARANTEES.items():
        wished = merged.get(option, value)
        if not _is_same(wished, value):
            raise SettingRefused(option, f"{wished!r} is refused, it must be {value!r}: {reason}; remove it")
    return {
        **merged,
        **{name: value for name, (value, _) in GUARANTEES.items()},
        "bootstrap.servers": cluster.bootstrap_servers,
    }


def transactional(config: Mapping[str, Option], transactional_id: str, timeout_s: float) -> dict[str, Option]:
    """The options of a client that writes transactions, with an end to its waits where its cluster's options go on.

    librdkafka refuses a client whose requests or records may take longer than a transaction.

    Args:
        timeout_s: how long the brokers keep a killed client's transaction open.
    """
    most_ms = int(timeout_s * 1_000)
    waits = {name: min(int(config[name]), most_ms) for name in _WAITS if name in config}
    return {**config, **waits, "transactional.id": transactional_id, "transaction.timeout.ms": most_ms}


_WAITS: Final = ("message.timeout.ms", "delivery.timeout.ms", "socket.timeout.ms")


def _written(name: str) -> str:
    """librdkafka's name of an option; one of them has an underscore of its own."""
    return name if name == "log_level" else name.replace("_", ".")


def _is_same(wished: Option, guaranteed: Option) -> bool:
    wanted, meant = str(wished).strip().lower(), str(guaranteed).lower()
    return wanted == meant or (meant == "all" and wanted in _SAME_AS_ALL) or (meant == "true" and wanted in ("1", "t"))


def connect(config: Mapping[str, Option], outage: Outage) -> Producer:
    """Make a client whose errors go to `outage` and whose log lines go to the `stoker.producers` logger.

    Raises:
        SettingRefused: librdkafka does not know an option, or refuses its value.
        KafkaException: the machine has no thread or memory left for a client; it may have later.
    """
    relay = LogRelay(config)
    try:
        return lasting(LastingProducer, {**config, "error_cb": outage.note, "logger": relay})
    except (KafkaException, TypeError) as refusal:
        if isinstance(refusal, KafkaException) and as_error(refusal).code() == KafkaError._CRIT_SYS_RESOURCE:
            raise
        fault = refused_option(refusal, config)
    raise SettingRefused(fault.option, fault.reason)  # without a cause, which may show values


def disconnect(producer: Producer, within_s: float) -> None:
    """Let what was sent be confirmed, for so long at the most, and give up on the rest."""
    with suppress(KafkaException):
        producer.flush(within_s)
    producer.purge()
    with suppress(KafkaException):
        producer.poll(0)


class LogRelay:
    """Takes librdkafka's log lines; it calls `log` like a `logging.Logger`'s."""

    def __init__(self, config: Mapping[str, object], logger: logging.Logger = _LOGGER) -> None:
        self._logger = logger
        self._secrets = [str(value) for name, value in config.items() if is_secret(name) and value]

    def masked(self, line: str) -> str:
        """The line without any of the configured secrets."""
        for secret in self._secrets:
            line = line.replace(secret, "[hidden]")
        return line

    def log(self, level: int, form: str, *values: object) -> None:
        """Pass a line on; lines about lost connections are details, since `Outage` reports them once."""
        line = form % values
        is_detail = any(word in values for word in ("FAIL", "ERROR", "GETPID"))
        is_detail = is_detail or any(words in line for words in _DETAILS)
        self._logger.log(logging.DEBUG if is_detail else level, "%s", self.masked(line))


class Outage:
    """An outage of a client's brokers: logged once when it begins and once when it ends."""

    def __init__(
        self,
        bootstrap_servers: str,
        client: str = "the producer",
        meaning: str = "it sends what was enqueued again, until that expires",
        level: int = logging.WARNING,
        principal: str = "this client",
    ) -> None:
        """Take note of one client's errors.

        Args:
            client: which part of the process it is, as the subject of a sentence.
            meaning: what an outage means for jobs.
            principal: whom the brokers take it for.
            level: DEBUG for the clients of a part that reports outages by itself.
        """
        self._servers, self._client, self._meaning, self._level = bootstrap_servers, client, meaning, level
        self.principal = principal
        self.cause: KafkaError | None = None
        self.fatal: KafkaError | None = None

    def note(self, error: KafkaError) -> None:
        """Take an error event of the client; librdkafka repeats them every second or so while they last."""
        if error.fatal():
            self.fatal = error
        was_lost = self.cause is not None
        self.cause = error
        if not was_lost:
            _LOGGER.log(
                self._level, "%s has lost Kafka at %s (%s): %s",
                self._client, self._servers, error.str(), self._meaning,
            )  # fmt: skip

    def end(self) -> None:
        """Note that a broker has confirmed something."""
        if self.cause is not None:
            self.cause = None
            _LOGGER.log(self._level, "%s: Kafka at %s confirms again", self._client, self._servers)

    @property
    def is_refusal(self) -> bool:
        """Whether the brokers can be reached but do not accept the credentials."""
        return self.cause is not None and self.cause.code() in AUTHORIZATION_CODES


AUTHORIZATION_CODES: Final = codes_of(Remedy.GRANT)
