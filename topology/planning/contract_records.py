"""Registrations of contracts on the audit topic: which job type, by whom, and its fields before and after."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from ...schemas import Contract, StoredSchema
from ...schemas.codec.schema import Schema, is_record_schema
from ...schemas.own_records.audit_entries import AuditEntry, Phase
from ...schemas.stores.store import Recorded
from ..cluster.audit_writer import AuditUnwritable, AuditWriter
from ..cluster.settings import ClusterSettings
from ..declaration.catalogue import type_in_words
from .recording import MOST_CHANGES, RECORDED, ActionRecord, Recording, begun_entry

CONTRACTS_REGISTERED: Final = "contracts-registered"
"""The action of an entry about new versions of contracts."""
ALONE_WITHIN_S: Final = 3.0
"""How long a producer, which has jobs to enqueue, waits for its entry."""
_CHARACTERS: Final = 500

_LOGGER = logging.getLogger(__name__)

Registrations = Mapping[Contract, Sequence[StoredSchema]]
"""{contract: the versions before it}."""


def contracts_entry(registrations: Registrations, recording: Recording) -> AuditEntry:
    """The entry that contracts are about to be registered."""
    named = dict(list(registrations.items())[:MOST_CHANGES])
    before = {contract.job_type: _version(len(found), found[-1].schema) for contract, found in named.items() if found}
    after = {contract.job_type: _version(len(found) + 1, contract.schema) for contract, found in named.items()}
    detail = {"contracts": str(len(registrations))}
    return replace(begun_entry(CONTRACTS_REGISTERED, recording), before=before, after=after, detail=detail)


def _version(number: int, schema: Schema) -> str:
    """A version in words: its number, and its fields with their types; those with a default in brackets."""
    fields = schema["fields"] if is_record_schema(schema) else ()
    named = (f"{field['name']}: {type_in_words(field['type'])}" for field in fields)
    words = ", ".join(f"[{one}]" if "default" in field else one for one, field in zip(named, fields, strict=True))
    return f"version {number} ({words})"[:_CHARACTERS]


def recorded_alone(cluster: ClusterSettings, audit_topic: str) -> Recorded:
    """Record what a program registers by itself, with its first job of a new contract.

    Its jobs do not wait for an audit topic that is missing, or that it may not write to: it logs that.
    """

    @contextmanager
    def recorded(contract: Contract, versions: Sequence[StoredSchema]) -> Iterator[None]:
        with AuditWriter(cluster, audit_topic, ALONE_WITHIN_S) as writer:
            record = ActionRecord(contracts_entry({contract: versions}, RECORDED), writer)
            try:
                record.begin()
            except AuditUnwritable as failed:
                _LOGGER.warning("the contract of %r is registered without an audit entry: %s", contract, failed.reason)
                yield
                return
            with ended(record):
                yield

    return recorded


@contextmanager
def ended(record: ActionRecord) -> Iterator[None]:
    """Put on record how the registrations in the block have ended."""
    try:
        yield
    except Exception as failure:
        record.end(Phase.FAILED, {"failures": str(failure)[:_CHARACTERS]})
        raise
    record.end(Phase.ENDED, {})
