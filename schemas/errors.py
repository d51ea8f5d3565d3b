"""The errors of contracts, payloads and schema stores.

    SchemaError
    ├── ContractRefused         a declaration cannot become a contract: fix the code
    ├── PayloadRefused          a value does not fit the contract: fix the call, nothing was sent
    ├── IncompatibleSchema      a changed contract breaks readers or writers of the versions in the cluster
    ├── DecodeError
    │   ├── Undecodable         the bytes are not a payload: dead letter
    │   ├── UnknownSchema       the writer's schema is not in the store: defer
    │   └── SchemaMismatch      the writer's schema is known, but does not resolve to the reader's
    └── StoreError
        ├── SchemaTopicMissing  the schemas topic was never created
        ├── SchemaStoreUnreachable
        │   └── RegistryUnreachable     no answer, or one that is no answer: an error, a proxy's page
        ├── RegistrySettingRefused      the registry's address, or an option of its client, cannot be
        └── RegistryMissing     the `registry` extra is not installed

The constructor's arguments are the exception's `args`, so that each can cross a process boundary.
"""

from __future__ import annotations

from .wire_text import wire_text


class SchemaError(Exception):
    """Root of everything this room raises on purpose."""


class ContractRefused(SchemaError):
    """A job's declaration cannot be turned into a contract."""

    def __init__(self, job_type: str, parameter: str, reason: str) -> None:
        super().__init__(job_type, parameter, reason)
        self.job_type, self.parameter, self.reason = job_type, parameter, reason

    def __str__(self) -> str:
        where = f"parameter {self.parameter!r}" if self.parameter else "the declaration"
        return f"job type {self.job_type!r}: {where} {self.reason}"


class PayloadRefused(SchemaError):
    """A value does not fit its job's contract.

    `field` is the dotted path of the value, "" when it is the payload as a whole.
    """

    def __init__(self, job_type: str, field: str, reason: str) -> None:
        super().__init__(job_type, field, reason)
        self.job_type, self.field, self.reason = job_type, field, reason

    def __str__(self) -> str:
        where = f"field {self.field!r}" if self.field else "the payload"
        return f"job type {self.job_type!r}: {where} {self.reason}"


class IncompatibleSchema(SchemaError):
    """A changed contract breaks readers or writers of the versions in the cluster; it was not registered."""

    def __init__(self, job_type: str, rule: str, field: str, explanation: str) -> None:
        super().__init__(job_type, rule, field, explanation)
        self.job_type, self.rule, self.field, self.explanation = job_type, rule, field, explanation

    def __str__(self) -> str:
        where = f" at field {self.field!r}" if self.field else ""
        return (
            f"job type {self.job_type!r}: the contract breaks {self.rule}{where}: {self.explanation}; "
            "run `stoker schemas check`, then fix the contract or give the changed job a new type"
        )


class DecodeError(SchemaError):
    """Root of what can happen to a record's value on its way to a payload."""


class Undecodable(DecodeError):
    """The bytes are not a payload in a known framing: they belong in the dead letters as they are."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"undecodable payload: {self.reason}"


class UnknownSchema(DecodeError):
    """The writer's schema is not in the store, not even after a refresh: defer the job.

    `frame_id` is the 8-byte fingerprint of a single-object frame, or the id of a Confluent frame.
    """

    def __init__(self, frame_id: bytes | int) -> None:
        super().__init__(frame_id)
        self.frame_id = frame_id

    def __str__(self) -> str:
        shown = self.frame_id.hex() if isinstance(self.frame_id, bytes) else f"id {self.frame_id}"
        return (
            f"the payload was written with schema {shown}, which the schema store does not hold; register it with "
            "`stoker topology apply` of the application that has written the job"
        )


class SchemaMismatch(DecodeError):
    """The writer's schema is known, but what it wrote does not resolve to the reader's schema.

    `newer`: the store holds the writer's schema as later than the reader's: a newer worker
    will know it, so defer the job.
    """

    def __init__(self, field: str, reason: str, newer: bool) -> None:
        super().__init__(field, reason, newer)
        self.field, self.reason, self.newer = field, reason, newer

    def __str__(self) -> str:
        which, fix = ("a newer", "deploy a newer worker") if self.newer else ("another", "see `stoker schemas check`")
        where = f"field {self.field!r}: " if self.field else ""
        return (
            f"the payload was written with {which} schema that does not resolve to this worker's: {where}{self.reason}"
            f"; {fix}"
        )


class StoreError(SchemaError):
    """Root of what a schema store itself can fail with."""


class SchemaTopicMissing(StoreError):
    """The topic that holds the schemas does not exist."""

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.topic = topic

    def __str__(self) -> str:
        return f"the schemas topic {self.topic!r} does not exist; run `stoker topology apply`"


class SchemaStoreUnreachable(StoreError):
    """The store did not answer within its time; nothing was registered or learned."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(store, reason)
        self.store, self.reason = store, reason

    def __str__(self) -> str:
        return (
            f"the schema store ({self.store}) could not be reached: {self.reason}; look whether the brokers are up "
            "(`stoker doctor`)"
        )


class RegistryUnreachable(SchemaStoreUnreachable):
    """The Schema Registry could not be asked; whether it holds a schema is unknown."""

    def __str__(self) -> str:
        return (
            f"the Schema Registry {self.store} could not be asked: {self.reason}; look whether it is up, and whether "
            "STOKER_SCHEMA_REGISTRY_URL names it"
        )


class RegistrySettingRefused(StoreError):
    """The address of the Schema Registry, or an option of its client, cannot be; nothing was asked."""

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(setting, reason)
        self.setting, self.reason = setting, reason

    def __str__(self) -> str:
        return (
            f"the Schema Registry cannot be used: {self.setting} {self.reason}; an address is "
            "http://host:port or https://host:port, with a path where the registry has one"
        )


class SchemaStoreForbidden(SchemaStoreUnreachable):
    """The brokers do not let this client read or write the schemas topic; nothing was registered or learned."""

    def __init__(self, topic: str, operation: str, principal: str) -> None:
        super().__init__(f"topic {topic}", f"{principal} lacks the right {operation}")
        self.topic, self.operation, self.principal = topic, operation, principal

    def __str__(self) -> str:
        return (
            f"Kafka forbids {self.principal} the operation {self.operation} on topic {self.topic}, which holds the "
            "schemas: grant it with kafka-acls --add (`stoker topology rights` lists all that are needed)"
        )


class RegistryMissing(StoreError):
    """A Schema Registry is configured, but its client is not installed."""

    def __str__(self) -> str:
        return "a Schema Registry needs an extra that is not installed; run `pip install 'stoker[registry]'`"


class Misfit(Exception):
    """A value does not fit its shape; the path grows while it travels outwards. Never leaves this room."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self._path: list[str] = []

    def within(self, step: str | int) -> Misfit:
        """Note the field (or index) that contains what was refused."""
        self._path.insert(0, wire_text(str(step)))  # of a map it is a key, which a foreign publisher may have written
        return self

    @property
    def field(self) -> str:
        """The dotted path from the payload to the value."""
        return ".".join(self._path)


def seen(value: object) -> str:
    """Describe a refused value for a message: its type, and the value where that is short and harmless."""
    shown = repr(value) if isinstance(value, bool | int | float | None) else ""
    kind = "None" if value is None else type(value).__name__
    return kind if not shown or shown == kind or len(shown) > 40 else f"{kind} {shown}"
