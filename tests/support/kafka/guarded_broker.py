"""A Kafka that asks who is there and what they may do: TLS, client certificates, passwords and access rights.

One broker with five doors, shared by the run as the open one is. Through the open door comes the administrator, who may
do all; who comes through another one may do what rights on the cluster allow.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without saying so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.operations.broker.lock import file_lock
from stoker.operations.broker.settings import HOST, choose_ports
from stoker.topology import ClusterSettings
from support.kafka.authority import Authority, make_authority
from support.kafka.brokers import PATIENT
from support.waiting import wait_until

_START_TIMEOUT_S: Final = 600.0
_HEAP_MB: Final = 1_024  # some thousand partitions, of the topics of all tests of access
TESTERS: Final = tuple(f"tester{number}" for number in range(16))
USERS: Final = ("ada", "bob", "eve", *TESTERS)
"""Who is known by a password, with PLAIN and SCRAM alike; a test takes one, and rights on its own namespace."""


def tester_of_process() -> str:
    """A user that no other process of the run takes: rights on the cluster are of no namespace."""
    return TESTERS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % len(TESTERS)]


def password_of(user: str) -> str:
    """Each user's own, and nothing that other text would hold by chance."""
    return f"secret-of-{user}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """The doors of the guarded broker, as `host:port`, and the files that its clients need."""

    open: str
    tls: str
    mutual: str
    sasl: str
    sasl_tls: str
    files: Authority

    @property
    def administrator(self) -> ClusterSettings:
        """May do all."""
        return ClusterSettings(bootstrap_servers=self.open)

    def user(self, name: str, mechanism: str = "PLAIN", **options: str) -> ClusterSettings:
        """A client with a user's password, without encryption."""
        return ClusterSettings(
            bootstrap_servers=self.sasl, options=credentials(name, mechanism, "SASL_PLAINTEXT") | options
        )

    def tls_user(self, name: str, mechanism: str = "PLAIN") -> ClusterSettings:
        """A client with a user's password on an encrypted connection."""
        options = credentials(name, mechanism, "SASL_SSL") | {"ssl.ca.location": str(self.files.ca)}
        return ClusterSettings(bootstrap_servers=self.sasl_tls, options=options)

    def tls_client(self, **options: str) -> ClusterSettings:
        """A client that nobody knows, on an encrypted connection."""
        return ClusterSettings(
            bootstrap_servers=self.tls,
            options={"security.protocol": "SSL", "ssl.ca.location": str(self.files.ca), **options},
        )

    @contextmanager
    def granted(self, principal: str, acls: Iterable[Acl]) -> Iterator[None]:
        """Let a principal do certain things for the length of a block; on return, the broker heeds it."""
        wanted = list(acls)
        self.grant(principal, wanted)
        try:
            yield
        finally:
            self.revoke(principal, wanted)

    def grant(self, principal: str, acls: Iterable[Acl]) -> None:
        """Let a principal do certain things from now on."""
        bindings = [acl.binding(principal) for acl in acls]
        if bindings:
            _settle(self._admin.create_acls(bindings))
            wait_until(lambda: set(bindings) <= self._known(principal), what="the rights to be known")

    def revoke(self, principal: str, acls: Iterable[Acl]) -> None:
        """Take back what was granted."""
        bindings = [acl.binding(principal) for acl in acls]
        if bindings:
            _settle(self._admin.delete_acls([acl.filter(principal) for acl in acls]))
            wait_until(lambda: not set(bindings) & self._known(principal), what="the rights to be gone")

    def _known(self, principal: str) -> set[AclBinding]:
        fields: Any = (  # the stub wants no None
            *(ResourceType.ANY, None, ResourcePatternType.ANY, principal, None),
            *(AclOperation.ANY, AclPermissionType.ANY),
        )
        return set(self._admin.describe_acls(AclBindingFilter(*fields)).result(30))

    @property
    def _admin(self) -> AdminClient:
        return _admin_at(self.open)

    def certified_client(self) -> ClusterSettings:
        """A client that is known by its certificate."""
        return ClusterSettings(
            bootstrap_servers=self.mutual,
            options={
                "security.protocol": "SSL",
                "ssl.ca.location": str(self.files.ca),
                "ssl.certificate.location": str(self.files.client_certificate),
                "ssl.key.location": str(self.files.client_key),
            },
        )


@dataclass(frozen=True, slots=True)
class Acl:
    """One thing that a principal may do.

    Attributes:
        operation: Kafka's word, such as `DescribeConfigs`.
        kind: `topic`, `group`, `transactional-id` or `cluster`.
        is_prefix: whether it is about all whose names begin with this one.
    """

    operation: str
    kind: str
    name: str
    is_prefix: bool = False

    def binding(self, principal: str) -> AclBinding:
        """As the admin client grants it."""
        return AclBinding(*self._fields(principal), AclPermissionType.ALLOW)

    def filter(self, principal: str) -> AclBindingFilter:
        """As the admin client takes it back."""
        return AclBindingFilter(*self._fields(principal), AclPermissionType.ALLOW)

    def _fields(self, principal: str) -> tuple[ResourceType, str, ResourcePatternType, str, str, AclOperation]:
        kinds = {
            "topic": ResourceType.TOPIC,
            "group": ResourceType.GROUP,
            "transactional-id": ResourceType.TRANSACTIONAL_ID,
            "cluster": ResourceType.BROKER,
        }
        pattern = ResourcePatternType.PREFIXED if self.is_prefix else ResourcePatternType.LITERAL
        words = re.sub(r"(?<!^)(?=[A-Z])", "_", self.operation).upper()
        return kinds[self.kind], self.name, pattern, principal, "*", AclOperation[words]


@cache
def _admin_at(address: str) -> AdminClient:
    """One for all calls: a client that is collected takes its unanswered requests along."""
    return AdminClient({"bootstrap.servers": address, "log_level": 0})


def _settle(answers: Mapping[Any, Future[Any]]) -> None:
    for answer in answers.values():
        answer.result(30)


def credentials(user: str, mechanism: str, protocol: str) -> dict[str, str]:
    """The client's options for a user."""
    return {
        "security.protocol": protocol,
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": password_of(user),
    }


def provide_guarded(shared: Path) -> Guarded:
    """This run's guarded broker, started by the first process that asks."""
    folder = shared / "guarded"
    folder.mkdir(exist_ok=True)
    note = folder / "doors.json"
    with file_lock(folder / "lock", _START_TIMEOUT_S):
        if not note.exists():
            note.write_text(json.dumps(_start(folder)), encoding="utf-8")
    return Guarded(**json.loads(note.read_text(encoding="utf-8")), files=Authority(folder))


def withdraw_guarded(shared: Path) -> None:
    """End it, if it was started."""
    if (shared / "guarded").exists():
        EmbeddedBroker(shared / "guarded" / "broker").kill()


def _start(folder: Path) -> dict[str, str]:
    files = make_authority(folder)
    draw = random.SystemRandom()
    main, first, second = choose_ports(draw), choose_ports(draw), choose_ports(draw)
    doors = {
        "open": f"{HOST}:{main.broker}",
        "tls": f"{HOST}:{first.broker}",
        "mutual": f"{HOST}:{first.controller}",
        "sasl": f"{HOST}:{second.broker}",
        "sasl_tls": f"{HOST}:{second.controller}",
    }
    (folder / "broker").mkdir()
    (folder / "broker" / "ports.json").write_text(json.dumps(asdict(main)), encoding="utf-8")
    settings = _settings(doors, f"{HOST}:{main.controller}", files)
    broker = EmbeddedBroker(folder / "broker", server_settings=settings, heap_mb=_HEAP_MB)
    assert broker.start(_START_TIMEOUT_S) == doors["open"], "somebody took the port meanwhile"
    _add_scram_users(_admin_at(doors["open"]))
    return doors


def _settings(doors: Mapping[str, str], controller: str, files: Authority) -> dict[str, str]:
    names = {"open": "PLAINTEXT", "tls": "TLS", "mutual": "MUTUAL", "sasl": "SASL", "sasl_tls": "SASLTLS"}
    listeners = ",".join(f"{names[door]}://{address}" for door, address in doors.items())
    users = " ".join(f'user_{user}="{password_of(user)}"' for user in USERS)
    plain = f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    login = {
        f"listener.name.{listener}.{mechanism.lower()}.sasl.jaas.config": plain if mechanism == "PLAIN" else scram
        for listener in ("sasl", "sasltls")
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    }
    return {
        **PATIENT,
        "listeners": f"{listeners},CONTROLLER://{controller}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,TLS:SSL,MUTUAL:SSL,"
        "SASL:SASL_PLAINTEXT,SASLTLS:SASL_SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # who comes through the open doors, the controller's among them
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(files.server_store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(files.ca),
        "listener.name.mutual.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        **login,
    }


def _add_scram_users(admin: AdminClient) -> None:
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):  # a request may name a user once
        credential = ScramCredentialInfo(mechanism, 4096)
        upsertions: list[UserScramCredentialAlteration] = [
            UserScramCredentialUpsertion(user, credential, password_of(user).encode(), f"salt of {user}".encode())
            for user in USERS
        ]
        _settle(admin.alter_user_scram_credentials(upsertions))
