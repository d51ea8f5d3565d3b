"""The verbs of orders, and the keys of the control topic: one for each verb and target, so that the last order stands.

    pause/queue/<queue>   pause/type/<job type>   pause/key/<queue>/<key>   pause/tenant/<tenant>
    pause/partition/<queue>/<number>   block/type|key|tenant/...   cancel/job/<job id>   cancel/filter/<order id>
    reschedule/job/<job id>   prioritize/job/<job id>   open/type/<job type>   open/dependency/<name>
    limit/name/<limit>   quiet/worker/<id>   quiet/host/<host>   quiet/all   stop   inspect

Parts are percent-encoded. `stop` and `inspect` are done once and do not stand, so they need no key for each target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote

from ...schemas.own_records.control_records import ControlOrder
from ..durations import format_duration


class Verb(StrEnum):
    """The verbs of orders."""

    PAUSE = "pause"
    RESUME = "resume"
    BLOCK = "block"
    UNBLOCK = "unblock"
    CANCEL = "cancel"
    UNCANCEL = "uncancel"
    RESCHEDULE = "reschedule"
    PRIORITIZE = "prioritize"
    OPEN = "open"
    CLOSE = "close"
    LIMIT = "limit"
    UNLIMIT = "unlimit"
    QUIET = "quiet"
    WORK = "work"
    STOP = "stop"
    INSPECT = "inspect"


LIFTS: Final[Mapping[str, Verb]] = {
    Verb.RESUME: Verb.PAUSE,
    Verb.UNBLOCK: Verb.BLOCK,
    Verb.UNCANCEL: Verb.CANCEL,
    Verb.CLOSE: Verb.OPEN,
    Verb.UNLIMIT: Verb.LIMIT,
    Verb.WORK: Verb.QUIET,
}
"""{verb: that of the order which it lifts}."""
ONCE: Final = frozenset({Verb.STOP, Verb.INSPECT})
"""Orders that are done at once, by the workers that run then."""
PRIORITY: Final = "priority"
"""In the detail of an order that gives a job another priority: which."""
FILTER_ORDER: Final = "filter_order"
"""In the detail of an order that lifts a cancel by filter: the id of that order."""
DEPENDENCY: Final = "dependency"
"""In the detail of an order to open or close a breaker: the dependency that it is about."""
SINCE: Final = "since"
"""In the detail of an order to open: the epoch second since which the breaker is not closed."""
TRIPS: Final = "trips"
"""In the detail of an order to open: how often the breaker has opened without closing."""
PROBER: Final = "prober"
"""In the detail of an order to open: the id of the worker that probes until the order is over."""
OVER: Final = "over"
"""In the detail of an order by which a worker leases the probe, or removes another order: the id of that order."""
UNAUDITED: Final = "unaudited"
"""In the detail of an order that was given without an audit record: the command that gave it."""
LIMIT: Final = "limit"
"""In the detail of an order about a limit: its name. Further parts of it are those of `LimitChange`."""
_COUNT: Final = "count"
_PER_S: Final = "per_s"
_BURST: Final = "burst"
_LIFTED: Final = "lifted"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChange:
    """The part of an order that changes a limit; what it does not name is as declared.

    Attributes:
        count, per, burst: as those of the limit; None: as declared.
        is_lifted: whether the limit holds nothing back.
    """

    count: int | None = None
    per: timedelta | None = None
    burst: int | None = None
    is_lifted: bool = False

    @classmethod
    def of_order(cls, order: ControlOrder) -> LimitChange:
        """Read the detail of an order.

        Raises:
            ValueError: it has no number where one belongs, or one beyond the calendar.
        """
        detail = order.detail
        return cls(
            count=int(detail[_COUNT]) if _COUNT in detail else None,
            per=_seconds(detail[_PER_S]) if _PER_S in detail else None,
            burst=int(detail[_BURST]) if _BURST in detail else None,
            is_lifted=_LIFTED in detail,
        )

    @property
    def detail(self) -> dict[str, str]:
        """The detail of an order that makes this change."""
        values = {_COUNT: self.count, _PER_S: self.per and self.per.total_seconds(), _BURST: self.burst}
        lifted = {_LIFTED: "true"} if self.is_lifted else {}
        return {name: str(value) for name, value in values.items() if value is not None} | lifted

    @property
    def named(self) -> dict[str, int | timedelta]:
        """{field of the limit: value} of those that it names."""
        fields = {"count": self.count, "per": self.per, "burst": self.burst}
        return {name: value for name, value in fields.items() if value is not None}

    def __str__(self) -> str:
        """The change for people: `count 5, per 1m`.

        >>> str(LimitChange(count=5, per=timedelta(minutes=1))), str(LimitChange(is_lifted=True))
        ('count 5, per 1m', 'lifted')
        """
        if self.is_lifted:
            return "lifted"
        shown = {name: format_duration(v) if isinstance(v, timedelta) else f"{v:,}" for name, v in self.named.items()}
        return ", ".join(f"{name} {value}" for name, value in shown.items())


def _seconds(text: str) -> timedelta:
    try:
        return timedelta(seconds=float(text))
    except OverflowError as error:
        raise ValueError(f"{text} s is no length of time: {error}") from None


def order_key(order: ControlOrder) -> str:
    """The key under which an order stands, or stood, where this one lifts it.

    >>> from datetime import UTC, datetime
    >>> who = {"order_id": "1", "operator": "ann", "host": "web-1", "at": datetime(2013, 1, 1, tzinfo=UTC)}
    >>> order_key(ControlOrder(verb="resume", queue="mails", key=b"ada@example.org", **who))
    'pause/key/mails/ada%40example.org'
    """
    verb = LIFTS.get(order.verb, order.verb)
    if verb in ONCE:
        return str(verb)
    return "/".join([str(verb), *(quote(part, safe="") for part in _target(order))])


def verb_of(key: bytes) -> str:
    """The verb of the orders that stand under a key."""
    return key.partition(b"/")[0].decode("utf-8", "backslashreplace")


def cancel_key(job_id: str) -> bytes:
    """The key under which the cancel of a job stands."""
    return f"{Verb.CANCEL}/job/{quote(job_id, safe='')}".encode()


def filter_key(order_id: str) -> bytes:
    """The key under which a cancel by filter stands."""
    return f"{Verb.CANCEL}/filter/{quote(order_id, safe='')}".encode()


def cancelled_by(key: bytes) -> tuple[str | None, str | None]:
    """The target of a cancel under a key: (the job's id, None), or (None, the id of the order that has a filter).

    >>> cancelled_by(b"cancel/job/order%2F7"), cancelled_by(b"cancel/filter/1"), cancelled_by(b"cancel")
    (('order/7', None), (None, '1'), (None, None))
    """
    kind, _, name = key.decode("utf-8", "backslashreplace").removeprefix(f"{Verb.CANCEL}/").partition("/")
    return (unquote(name) if kind == "job" else None), (unquote(name) if kind == "filter" else None)


def reschedule_key(job_id: str) -> bytes:
    """The key under which the reschedule of a job stands."""
    return f"{Verb.RESCHEDULE}/job/{quote(job_id, safe='')}".encode()


def rescheduled_by(key: bytes) -> str:
    """The id of the job that a reschedule under a key is about."""
    return unquote(key.decode("utf-8", "backslashreplace").removeprefix(f"{Verb.RESCHEDULE}/job/"))


def prioritize_key(job_id: str) -> bytes:
    """The key under which it stands that a job was given another priority."""
    return f"{Verb.PRIORITIZE}/job/{quote(job_id, safe='')}".encode()


def prioritized_by(key: bytes) -> str:
    """The id of the job that such an order under a key is about."""
    return unquote(key.decode("utf-8", "backslashreplace").removeprefix(f"{Verb.PRIORITIZE}/job/"))


def lifting_order(
    key: bytes, *, removed: str, order_id: str, operator: str, host: str, at: datetime, reason: str
) -> ControlOrder:
    """The order that lifts the cancel under a key, or has no use for another order about a job under it any more.

    Args:
        removed: the id of that order; a newer one under the key stays.
    """
    verb = Verb(verb_of(key))
    is_cancel = verb is Verb.CANCEL
    about_job = prioritized_by if verb is Verb.PRIORITIZE else rescheduled_by
    job_id, filter_order = cancelled_by(key) if is_cancel else (about_job(key), None)
    detail = {OVER: removed} if filter_order is None else {OVER: removed, FILTER_ORDER: filter_order}
    return ControlOrder(
        order_id=order_id,
        verb=Verb.UNCANCEL if is_cancel else verb,
        operator=operator,
        host=host,
        at=at,
        job_id=job_id,
        reason=reason,
        detail=detail,
    )


def _target(order: ControlOrder) -> list[str | bytes]:
    """The parts of an order's target, the kind first."""
    match order:
        case ControlOrder(job_id=str(job_id)):
            return ["job", job_id]
        case ControlOrder(verb=Verb.CANCEL | Verb.UNCANCEL):
            return ["filter", order.detail.get(FILTER_ORDER, order.order_id)]
        case ControlOrder(verb=Verb.OPEN | Verb.CLOSE) if DEPENDENCY in order.detail:
            return [DEPENDENCY, order.detail[DEPENDENCY]]
        case ControlOrder(verb=Verb.LIMIT | Verb.UNLIMIT):
            return ["name", order.detail.get(LIMIT, "")]
        case ControlOrder(key=bytes(key)):
            return ["key", order.queue or "", key]
        case ControlOrder(partition=int(number)):
            return ["partition", order.queue or "", str(number)]
        case _:
            return _broad_target(order)


def _broad_target(order: ControlOrder) -> list[str | bytes]:
    kinds = {
        "type": order.job_type,
        "tenant": order.tenant,
        "queue": order.queue,
        "worker": order.worker,
        "host": order.worker_host,
    }
    return next(([kind, name] for kind, name in kinds.items() if name is not None), ["all"])


def in_words(order: ControlOrder) -> str:
    """The target of an order, for people: `queue mails`, `key ada of queue mails`."""
    if FILTER_ORDER in order.detail:
        return f"order {order.detail[FILTER_ORDER]}"
    if LIMIT in order.detail:
        return _limit_in_words(order)
    before = "" if order.before is None else f" enqueued before {order.before.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    parts = [
        (order.detail.get("schedule"), f"schedule {order.detail.get('schedule')}"),
        (order.detail.get(DEPENDENCY), f"dependency {order.detail.get(DEPENDENCY)}"),
        (order.job_id, f"job {order.job_id}"),
        (order.job_type, f"type {order.job_type}"),
        (order.key, f"key {(order.key or b'').decode('utf-8', 'backslashreplace')}"),
        (order.tenant, f"tenant {order.tenant}"),
        (order.partition, f"partition {order.partition}"),
        (order.queue, f"queue {order.queue}"),
        (order.worker, f"worker {order.worker}"),
        (order.worker_host, f"workers of host {order.worker_host}"),
    ]
    named = [words for field, words in parts if field is not None]
    named = named or ["jobs" if before else "all workers"]
    return f"{' of '.join(named)}{before}"


def _limit_in_words(order: ControlOrder) -> str:
    """Also of an order of a newer Stoker."""
    name = order.detail[LIMIT]
    if order.verb != Verb.LIMIT:
        return name
    try:
        change = LimitChange.of_order(order)
    except ValueError:
        return name
    return f"{name} (lifted)" if change.is_lifted else f"{name} to {change}"
