"""`AuditEntry`: an action of an operator that is no order, as the audit topic has it before the action and after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum

from .own import decode_own, encode_own, with_writable_texts


class Phase(StrEnum):
    """How far an action has come.

    BEGUN: it is about to be done. ENDED: all of it is done. STOPPED: its operator has stopped it, and a part is done.
    FAILED: it has ended with an error, and a part may be done.
    """

    BEGUN = "begun"
    ENDED = "ended"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry. Each stands for itself: the one that is written after an action repeats what the one before it has.

    Attributes:
        action_id: equal in the entries of one action; of a replay or discard, its id.
        action: what is done, such as `dead-letters-replayed`; another one comes from a newer Stoker.
        phase: one of `Phase`.
        at, began: when it was written, and when the action began.
        command, version: the command or program, without its arguments, and its version of Stoker.
        queue: empty where it is about the whole pipeline.
        before, after: {what: its value before and after the action}, of what it changes.
    """

    action_id: str
    action: str
    phase: str
    at: datetime
    began: datetime
    operator: str
    host: str
    command: str = ""
    version: str = ""
    reason: str = ""
    queue: str = ""
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    detail: Mapping[str, str] = field(default_factory=dict)


def encode_audit_entry(entry: AuditEntry) -> bytes:
    """Write an entry, framed."""
    return encode_own("AuditEntry", with_writable_texts(asdict(entry)))


def decode_audit_entry(value: bytes | None) -> AuditEntry:
    """Read an entry.

    Raises:
        Undecodable: the bytes are no such entry.
        UnknownSchema: another version of Stoker wrote it, or it is an order.
    """
    return AuditEntry(**decode_own("AuditEntry", value))
