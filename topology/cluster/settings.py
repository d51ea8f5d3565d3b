"""Which Kafka cluster to talk to, and with which client options; secrets never leave this module in readable form."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .environment import is_of_a_service
from .registry_settings import registry_options

Option = str | int | float | bool

SECRET_WORDS: Final = ("password", "secret", "token", "jaas", "key.pem", "private", "certificate.pem", "basic.auth")
OPTION_PREFIX: Final = "STOKER_KAFKA_"
BOOTSTRAP_VARIABLE: Final = "STOKER_BOOTSTRAP_SERVERS"
REGISTRY_VARIABLE: Final = "STOKER_SCHEMA_REGISTRY_URL"
HOME_VARIABLE: Final = "STOKER_HOME"
MEMBERS_OPTIONS: Final = frozenset(
    {"max.poll.interval.ms", "session.timeout.ms", "heartbeat.interval.ms", "group.instance.id", "group.protocol"}
)
"""The options that are meant for members of a group, and contradict those of clients that join none."""
REDACTED: Final = "[hidden]"
ANY_SIZE_BYTES: Final = 2_147_483_647
"""For `receive.message.max.bytes` of clients that read what anybody has published: librdkafka refuses to decompress
more than that, with its own default of 100 MB a record that the brokers took would stop its partition for good."""
_WITH_UNDERSCORE: Final = frozenset({"log_level"})


class NoCluster(Exception):
    """No cluster is configured, and no embedded broker runs for this folder."""

    def __init__(self, looked_at: Path) -> None:
        super().__init__(
            f"no Kafka cluster is configured: set {BOOTSTRAP_VARIABLE}=host:port, or run `stoker broker start` "
            f"in this folder (no running broker is noted in {looked_at})"
        )
        self.looked_at = looked_at


class ClusterUnreachable(Exception):
    """No broker answered in time: check the address, or wait for the brokers, and try again.

    Attributes:
        bootstrap_servers: the address that was tried.
        reason: the client's last error.
        fix: what to do about it; None where that is not known.
    """

    def __init__(self, bootstrap_servers: str, reason: str, fix: str | None = None) -> None:
        what_to_do = fix or (
            "check that it runs (`stoker broker status` for the embedded one), that this address and port can be "
            "reached from here, and the TLS and SASL options if it wants any"
        )
        super().__init__(f"Kafka at {bootstrap_servers} does not answer ({reason}): {what_to_do}")
        self.bootstrap_servers, self.reason, self.fix = bootstrap_servers, reason, fix


class NotAuthorized(Exception):
    """The cluster knows this client, and forbids it an operation; an administrator must grant the ACL.

    Attributes:
        principal: who lacks the right, such as `User:ada`; if unknown, a phrase.
        missing: what must be granted, (operation, resource) each, such as `("Read", "topic shop.mails")`.
    """

    def __init__(self, principal: str, missing: Sequence[tuple[str, str]]) -> None:
        named = [f"{operation} on {resource}" for operation, resource in missing]
        operations, them = (
            (f"the operation {named[0]}: ", "it")
            if len(named) == 1
            else ("these operations:" + "".join(f"\n  - {right}" for right in named) + "\n", "them")
        )
        super().__init__(
            f"Kafka forbids {principal} {operations}grant {them} with kafka-acls --add "
            "(`stoker topology rights` lists all that are needed)"
        )
        self.principal, self.missing = principal, tuple(missing)

    @property
    def operation(self) -> str:
        """Kafka's name of the first operation that is missing, such as `DescribeConfigs`."""
        return self.missing[0][0]

    @property
    def resource(self) -> str:
        """The resource on which the right must be granted, such as `topic shop.mails`."""
        return self.missing[0][1]


def is_secret(option: str) -> bool:
    """Say whether an option's value must not be shown."""
    return any(word in option.lower() for word in SECRET_WORDS)


def option_name(identifier: str) -> str:
    """The librdkafka option that is meant where dots cannot be written.

    >>> option_name("sasl_mechanism"), option_name("log_level")
    ('sasl.mechanism', 'log_level')
    """
    return identifier if identifier in _WITH_UNDERSCORE else identifier.replace("_", ".")


def home_folder() -> Path:
    """The folder that holds a project's local state: `$STOKER_HOME`, or `.stoker` in the working directory."""
    return Path(os.environ.get(HOME_VARIABLE, ".stoker")).absolute()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """One cluster.

    Attributes:
        bootstrap_servers: `host:port`, several parted by commas.
        options: any librdkafka options (TLS, SASL, timeouts); they win over Stoker's own, except the few that
            carry a guarantee (acks, idempotence, manual commit), which are refused where they are used.
        schema_registry_url: None keeps schemas in the `<namespace>.schemas` topic.
        schema_registry_options: of the registry's client, such as `ssl.ca.location`.
    """

    bootstrap_servers: str
    options: Mapping[str, Option] = field(default_factory=dict)
    schema_registry_url: str | None = None
    schema_registry_options: Mapping[str, str] = field(default_factory=dict)

    def client_config(self, **defaults: Option) -> dict[str, Option]:
        """Merge into librdkafka options; `defaults` are named with `_` for `.`, and `options` win over them."""
        named = {option_name(name): value for name, value in defaults.items()}
        return {**named, **self.options, "bootstrap.servers": self.bootstrap_servers}

    def reader_config(self, **defaults: Option) -> dict[str, Option]:
        """The configuration of a consumer that joins no group."""
        merged = self.client_config(**defaults)
        return {name: value for name, value in merged.items() if name not in MEMBERS_OPTIONS}

    @property
    def principal(self) -> str:
        """The principal of this client at the brokers, as far as its options show it."""
        return principal_of(self.options)

    def shown(self) -> dict[str, Option]:
        """The options as they may be printed and logged: each secret is replaced by a mark."""
        return {name: REDACTED if is_secret(name) else value for name, value in self.client_config().items()}

    def __repr__(self) -> str:
        """Leave the secrets out, since settings end up in logs and tracebacks."""
        return f"ClusterSettings({self.shown()!r})"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> ClusterSettings:
        """Read `STOKER_BOOTSTRAP_SERVERS` and `STOKER_KAFKA_*`, else take this project's running embedded broker.

        `STOKER_KAFKA_SASL_MECHANISM=PLAIN` becomes `sasl.mechanism=PLAIN`, and so for every librdkafka option. What
        Kubernetes sets for a Service named `stoker-kafka` is passed over.

        Raises:
            NoCluster: nothing is set, and no embedded broker is noted as running here.
        """
        values = os.environ if environ is None else environ
        servers = values.get(BOOTSTRAP_VARIABLE) or embedded_address()
        if servers is None:
            raise NoCluster(home_folder())
        return cls(
            bootstrap_servers=servers,
            options=_options_from(values),
            schema_registry_url=values.get(REGISTRY_VARIABLE) or None,
            schema_registry_options=registry_options(values),
        )


def principal_of(options: Mapping[str, Option]) -> str:
    """The principal of a client at the brokers, as far as its options show it; brokers may map names to others.

    >>> principal_of({"security.protocol": "SASL_SSL", "sasl.username": "ada"}), principal_of({})
    ('User:ada', 'User:ANONYMOUS')
    """
    protocol = str(options.get("security.protocol", "plaintext")).upper()
    if "SASL" in protocol:
        user = options.get("sasl.username")
        return "this client" if user is None else f"User:{user}"
    if "SSL" in protocol and any("certificate" in option or "keystore" in option for option in options):
        return "this client (the subject of its certificate)"
    return "User:ANONYMOUS"


def _options_from(values: Mapping[str, str]) -> dict[str, Option]:
    return {
        option_name(name.removeprefix(OPTION_PREFIX).lower()): value
        for name, value in values.items()
        if name.startswith(OPTION_PREFIX) and not is_of_a_service(name)
    }


def embedded_address() -> str | None:
    """The address of this project's embedded broker, if it runs by its state file."""
    state_file = home_folder() / "broker" / "broker.json"
    try:
        state = json.loads(state_file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    servers, pid = state.get("bootstrap_servers"), state.get("pid")
    return servers if isinstance(servers, str) and isinstance(pid, int) and _is_alive(pid) else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
