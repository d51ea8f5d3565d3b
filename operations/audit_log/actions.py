"""`AuditedAction`: what an operator did, by the audit topic: an order, a change, a replay, with before and after."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, cast

from confluent_kafka import Message

from ...producers.control.log_reader import read_log
from ...producers.schedules.audit_records import AFTER, BEFORE
from ...schemas import Undecodable, UnknownSchema
from ...schemas.own_records.audit_entries import AuditEntry, Phase, decode_audit_entry
from ...schemas.own_records.control_records import ControlOrder, decode_order
from ...schemas.own_records.own import is_own
from ...topology import ClusterSettings, Pipeline
from ...topology.counts import counted
from ...topology.planning.contract_records import CONTRACTS_REGISTERED
from ...topology.planning.recording import TOPOLOGY_APPLIED
from ...topology.wire.headers import COMMAND, ORDER, VERSION, HeaderList, header_map
from ...topology.wire.orders import LIFTS, ONCE, UNAUDITED, in_words
from ..control.orders_shown import described
from ..replay.audit import Action
from .prunes import INBOX_PRUNED, OUTBOX_PRUNED

SCHEDULE: Final = "schedule"
_ABOUT_ONE_JOB: Final = b"/job/"
"""In the keys of orders about one job: there may be a great many, and hardly one has another one before it."""


class ActionKind(StrEnum):
    """The kinds of actions."""

    ORDER = "order"
    SCHEDULE = "schedule"
    REPLAY = "replay"
    DISCARD = "discard"
    TOPOLOGY = "topology"
    CONTRACT = "contract"
    PRUNE = "prune"
    OTHER = "other"


_KINDS: Final[Mapping[str, ActionKind]] = {
    Action.DEAD_REPLAY.value: ActionKind.REPLAY,
    Action.QUEUE_REPLAY.value: ActionKind.REPLAY,
    Action.DEAD_DISCARD.value: ActionKind.DISCARD,
    TOPOLOGY_APPLIED: ActionKind.TOPOLOGY,
    CONTRACTS_REGISTERED: ActionKind.CONTRACT,
    INBOX_PRUNED: ActionKind.PRUNE,
    OUTBOX_PRUNED: ActionKind.PRUNE,
}
DONE: Final = "done"
"""The outcome of an order and of a change of a schedule: it stands with its record, or neither is there."""
NO_END: Final = "begun, end unknown"
"""It runs still, or its process was killed."""
OFF_TRAIL: Final = "done, not on the audit topic"
"""An order that was given without an audit record; the control topic has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedAction:
    """An order, a change, a replay or a discard, with who did it, when, why and from where.

    Attributes:
        id: of the order, replay, discard or change; the orders of one command share it, and replays that continue one
            another.
        action: a verb of an order, `schedule` and a verb, or the action of an entry.
        outcome: `done`, `ended`, `stopped`, `failed`, or that its end is not known.
        at, ended_at: when it began, and when it ended, where that is not at once.
        about: its target in words.
        job_types: those that it names.
        job_id: of an order about one job; `count` orders are shown as one.
        before, after: {what: its value}; empty where nothing was, or is, there.
    """

    id: str
    kind: ActionKind
    action: str
    outcome: str
    at: datetime
    operator: str
    host: str
    about: str
    ended_at: datetime | None = None
    command: str = ""
    version: str = ""
    reason: str = ""
    queue: str = ""
    job_types: tuple[str, ...] = ()
    job_id: str | None = None
    count: int = 1
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    detail: Mapping[str, str] = field(default_factory=dict)

    @property
    def by(self) -> str:
        """Who and where, as `ann@web-1`."""
        return f"{self.operator}@{self.host}"


class ActionReader:
    """Makes actions of the records of the audit topic, in their order. What stood before an order, it has seen."""

    def __init__(self) -> None:
        self._last: dict[bytes, bytes] = {}

    def pass_over(self, message: Message) -> None:
        """Take in what a record leaves behind, without making an action of it."""
        key, value = _bytes_of(message.key()), message.value()
        if value is not None and _ABOUT_ONE_JOB not in key and is_own("ControlOrder", value):
            self._last[key] = value

    def read(self, message: Message) -> AuditedAction | None:
        """The action that a record tells of; None where it cannot be read, as by an older Stoker."""
        try:
            if is_own("AuditEntry", message.value()):
                return action_of_entry(decode_audit_entry(message.value()))
            order = decode_order(message.value())
        except (Undecodable, UnknownSchema):
            return None
        headers = header_map(cast("HeaderList | None", message.headers()))
        before = self._before(_bytes_of(message.key()), order)
        self.pass_over(message)
        return action_of_order(order, headers, before)

    def _before(self, key: bytes, order: ControlOrder) -> ControlOrder | None:
        value = self._last.get(key)
        last = None if value is None else decode_order(value)
        return None if last is None or last.verb in LIFTS or last.verb in ONCE or last.is_over(order.at) else last


def action_of_order(order: ControlOrder, headers: Mapping[str, bytes], before: ControlOrder | None) -> AuditedAction:
    """The action of an order or of a change of a schedule.

    Args:
        before: the order that stood for the same target.
    """
    is_schedule, target = SCHEDULE in order.detail, in_words(order)
    sides = _sides_of_schedule(order) if is_schedule else _sides_of_order(order, before)
    return AuditedAction(
        id=order.order_id,
        kind=ActionKind.SCHEDULE if is_schedule else ActionKind.ORDER,
        action=f"schedule {order.verb}" if is_schedule else order.verb,
        outcome=OFF_TRAIL if UNAUDITED in order.detail else DONE,
        at=order.at,
        operator=order.operator,
        host=order.host,
        about=target,
        command=_text(headers, COMMAND) or order.detail.get(UNAUDITED, ""),
        version=_text(headers, VERSION),
        reason=order.reason,
        queue=order.queue or "",
        job_types=() if order.job_type is None else (order.job_type,),
        job_id=order.job_id,
        before=sides[0],
        after=sides[1],
        detail={name: value for name, value in order.detail.items() if name not in (BEFORE, AFTER)},
    )


def _sides_of_order(order: ControlOrder, before: ControlOrder | None) -> tuple[dict[str, str], dict[str, str]]:
    target, stands = in_words(order), order.verb not in LIFTS and order.verb not in ONCE
    return {} if before is None else {target: described(before)}, {target: described(order)} if stands else {}


def _sides_of_schedule(order: ControlOrder) -> tuple[dict[str, str], dict[str, str]]:
    return _fields(order.detail.get(BEFORE)), _fields(order.detail.get(AFTER))


def action_of_entry(entry: AuditEntry) -> AuditedAction:
    """The action of an entry, which is written before and after it."""
    has_begun = entry.phase == Phase.BEGUN
    return AuditedAction(
        id=entry.action_id,
        kind=_KINDS.get(entry.action, ActionKind.OTHER),
        action=entry.action,
        outcome=NO_END if has_begun else entry.phase,
        at=entry.began,
        ended_at=None if has_begun else entry.at,
        operator=entry.operator,
        host=entry.host,
        about=_about(entry),
        command=entry.command,
        version=entry.version,
        reason=entry.reason,
        queue=entry.queue,
        job_types=_job_types(entry),
        before=entry.before,
        after=entry.after,
        detail=entry.detail,
    )


def read_actions(
    pipeline: Pipeline, cluster: ClusterSettings, since: datetime | None = None
) -> Iterator[AuditedAction]:
    """Read the actions that the audit topic keeps, the oldest first, each as often as it has entries.

    Orders that were given without an audit record come last: those that stand, and others for some time.

    Raises:
        ClusterUnreachable, NotAuthorized, ControlNotReady: as `read_log`.
    """
    reader, since_ms = ActionReader(), 0 if since is None else since.timestamp() * 1_000
    for message in read_log(cluster, pipeline.audit_topic):
        if message.timestamp()[1] < since_ms:
            reader.pass_over(message)
        elif (action := reader.read(message)) is not None:
            yield action
    for order in _off_trail(pipeline, cluster):
        if since is None or order.at >= since:
            yield action_of_order(order, {}, None)


def _off_trail(pipeline: Pipeline, cluster: ClusterSettings) -> Iterator[ControlOrder]:
    """The orders that were given without an audit record, as far as the control topic still has them."""
    for message in read_log(cluster, pipeline.control_topic):
        with suppress(Undecodable, UnknownSchema):
            order = decode_order(_lifting_order(message) if message.value() is None else message.value())
            if UNAUDITED in order.detail:
                yield order


def _lifting_order(message: Message) -> bytes | None:
    try:
        return header_map(cast("HeaderList | None", message.headers())).get(ORDER)
    except (SystemError, UnicodeDecodeError):  # so the client fails over a name that is not UTF-8
        return None


def as_done(actions: Iterable[AuditedAction]) -> list[AuditedAction]:
    """Each action once, as its last entry has it, in the order of their beginnings.

    Who continues a replay of another one, under its id, begins an action of his own.
    """
    found: dict[tuple[str, datetime, str | None], AuditedAction] = {}
    for action in actions:
        found[action.id, action.at, action.job_id] = action
    return list(found.values())


def _job_types(entry: AuditEntry) -> tuple[str, ...]:
    found = entry.after if entry.action == CONTRACTS_REGISTERED else _object(entry.detail.get("counts"))
    return tuple(sorted(found))


_COUNTED: Final = {
    TOPOLOGY_APPLIED: "change",
    CONTRACTS_REGISTERED: "contract",
    INBOX_PRUNED: "row",
    OUTBOX_PRUNED: "row",
}
"""{action: what it changes}; the detail of its entry has how many, under a name in the plural."""


def _about(entry: AuditEntry) -> str:
    if (what := _COUNTED.get(entry.action)) is not None:
        count = int(entry.detail.get(f"{what}s", "0"))
        of_table = f" of {entry.detail['table']}" if "table" in entry.detail else ""
        return f"{counted(count, what)}{of_table}"
    counts = {name: int(str(count)) for name, count in _object(entry.detail.get("counts")).items()}
    listed = ", ".join(f"{count:,} {name or '(no type)'}" for name, count in sorted(counts.items()))
    return f"queue {entry.queue}: {listed or 'no jobs'}" if entry.queue else listed


def _fields(text: str | None) -> dict[str, str]:
    """The fields of a schedule, each as JSON has it; plain text without its quotes."""
    found = _object(text)
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def _object(text: str | None) -> dict[str, object]:
    """A JSON object; empty where there is none, or one that was cut."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return headers.get(name, b"").decode("utf-8", "replace")


def _bytes_of(key: bytes | str | None) -> bytes:
    return key.encode() if isinstance(key, str) else key or b""
