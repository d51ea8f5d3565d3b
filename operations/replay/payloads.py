"""The payload of a replayed job: its original bytes, or bytes corrected through its schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from ...schemas import Contract, DecodeError, Decoder, PayloadRefused, SchemaStore, StoreError
from ...schemas.json_data import Json
from ...topology import Pipeline, UnknownName
from ...topology.declaration.job_type import AnyJobType
from ...topology.planning.contracts import STORE_TIMEOUT_S
from ..stored_jobs.errors import RefusedCorrection
from ..stored_jobs.stored_job import StoredJob
from .corrections import Correction, FieldChange, changed_fields


class Nothing(Enum):
    """Where no payload is given: null is one."""

    NOTHING = auto()


NOTHING: Final = Nothing.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedCorrection:
    """The correction of each payload that an operator wants, as JSON.

    Attributes:
        fields: {dotted path: new value}, put into each selected payload.
        payload: a whole new payload; `NOTHING` keeps the job's own.
    """

    fields: Mapping[str, Json] = field(default_factory=dict)
    payload: Json | Nothing = NOTHING

    @property
    def is_empty(self) -> bool:
        """Whether payloads stay as they are."""
        return not self.fields and self.payload is NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyPayload:
    """The payload to be published.

    Attributes:
        value: the bytes as they came; of a corrected payload those without its frame, which the store gives it when it
            is published.
        corrected: by whose contract a payload was corrected.
        whole: the job that the bytes belong to, where its dead letter is truncated.
    """

    value: bytes | None
    corrected: AnyJobType | None = None
    whole: StoredJob | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """The job is not published, for a reason that many share."""

    reason: str


Prepared = ReadyPayload | LeftOut | RefusedCorrection


class PayloadCorrector:
    """Checks and corrects payloads against the pipeline's contracts."""

    def __init__(
        self,
        pipeline: Pipeline,
        store: SchemaStore,
        *,
        correction: WantedCorrection | None = None,
        undecodable_too: bool = False,
    ) -> None:
        """Prepare.

        Args:
            undecodable_too: publish the bytes of payloads that today's code cannot decode, and of unknown job types.
        """
        self._pipeline, self._store, self._wanted = pipeline, store, correction or WantedCorrection()
        self._decoder = Decoder(store)
        self._undecodable_too = undecodable_too
        self._to_register: set[AnyJobType] = set()

    def prepare(self, record: StoredJob) -> Prepared:
        """Decide what is to be published for a job, and whether at all; nothing is changed anywhere.

        Raises:
            IncompatibleSchema: the contract of a corrected payload could not be registered.
            StoreError: the schema store did not answer that.
        """
        try:
            job_type = self._pipeline.find_job_type(record.job_type)
        except UnknownName:
            return self._unreadable(record, f"job type {record.job_type!r} is not in the pipeline")
        if not record.job_id:
            return self._unreadable(record, "it has no job id")
        if self._wanted.is_empty:
            return self._original(record, job_type.contract)
        return self._with_correction(record, job_type)

    def correction(self, record: StoredJob, prepared: ReadyPayload) -> Correction | None:
        """The changes in a payload that `prepare` has corrected; None where there are no corrections."""
        if prepared.corrected is None:
            return None
        contract = prepared.corrected.contract
        after = contract.to_json(contract.codec.decode(prepared.value or b"", 0))
        try:
            before = contract.to_json(self._decoder.decode(contract, record.value or b""))
            fields = tuple(changed_fields(before, after))
        except DecodeError:
            fields = (FieldChange(path="", after=after, was_absent=True),)
        return Correction(ref=str(record.ref), job_id=record.job_id, fields=fields)

    def register_corrected(self) -> None:
        """Register the contracts of the payloads that `prepare` has corrected.

        Raises:
            IncompatibleSchema, StoreError: a contract cannot be registered; nothing can be published.
        """
        for job_type in self._to_register:
            self._store.register(job_type.contract, job_type.compatibility)

    def value_of(self, prepared: ReadyPayload) -> bytes | None:
        """The bytes to publish; `register_corrected` comes first."""
        if prepared.corrected is None:
            return prepared.value
        return self._store.frame(prepared.corrected.contract, prepared.value or b"")

    def _original(self, record: StoredJob, contract: Contract) -> Prepared:
        try:
            self._decoder.decode(contract, record.value or b"")
        except DecodeError as unreadable:
            return self._unreadable(record, str(unreadable))
        except StoreError:
            if not self._undecodable_too:
                raise  # whether the dead letter can be read is unknown, so it is not one to be left out
        return ReadyPayload(value=record.value)

    def _unreadable(self, record: StoredJob, reason: str) -> Prepared:
        if self._undecodable_too and self._wanted.is_empty:
            return ReadyPayload(value=record.value)
        return LeftOut(reason=reason)

    def _with_correction(self, record: StoredJob, job_type: AnyJobType) -> Prepared:
        contract = job_type.contract
        try:
            body = contract.encode(contract.from_json(self._corrected(record, contract)))
        except PayloadRefused as refused:
            return _refusal(record, refused.field, refused.reason)
        except _NotAnObject as wrong:
            return _refusal(record, wrong.path, "is inside something that has no fields")
        except DecodeError as unreadable:
            return LeftOut(reason=f"{unreadable}; only a whole new payload can fix it")
        if len(body) > job_type.max_payload_bytes:
            return _refusal(record, "", f"has {len(body)} bytes, more than the limit of {job_type.max_payload_bytes}")
        self._require_registrable(job_type)
        return ReadyPayload(value=body, corrected=job_type)

    def _corrected(self, record: StoredJob, contract: Contract) -> Json:
        if self._wanted.payload is not NOTHING:
            return _with_fields(self._wanted.payload, self._wanted.fields)
        datum = self._decoder.decode(contract, record.value or b"")
        return _with_fields(contract.to_json(datum), self._wanted.fields)

    def _require_registrable(self, job_type: AnyJobType) -> None:
        """Refuse here what cannot be registered when the dead letters are settled; each type is asked for once."""
        if job_type not in self._to_register:
            self._store.refresh(STORE_TIMEOUT_S)
            self._store.require_registrable(job_type.contract, job_type.compatibility)
            self._to_register.add(job_type)


class _NotAnObject(Exception):
    """A path of a correction leads through a value that has no fields."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def _with_fields(payload: Json, fields: Mapping[str, Json]) -> Json:
    for path, value in fields.items():
        payload = _with_field(payload, path.split("."), value, path)
    return payload


def _with_field(node: Json, steps: list[str], value: Json, path: str) -> Json:
    """A copy with one value put in; numbers are steps into lists."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(node, dict):
        return {**node, step: _with_field(node.get(step, {}), rest, value, path)}
    if isinstance(node, list) and step.isdecimal() and int(step) < len(node):
        changed = _with_field(node[int(step)], rest, value, path)
        return [*node[: int(step)], changed, *node[int(step) + 1 :]]
    raise _NotAnObject(path)


def _refusal(record: StoredJob, path: str, reason: str) -> RefusedCorrection:
    return RefusedCorrection(at=str(record.ref), job_type=record.job_type, field=path, reason=reason)
