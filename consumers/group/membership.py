"""`Membership`: whether the group has given this worker partitions, and if not, why.

A worker without partitions looks like one without jobs. It may be one of more workers than there are partitions, which
is as it should be; or its join may never be answered, which the Kafka client does not report. So when it had none for a
while, the brokers are asked what they know of the group.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from ...topology import ClusterSettings, Queue
from ...topology.cluster.group_descriptions import describe_groups
from ...topology.cluster.kafka_errors import Remedy, remedy_of
from ...topology.counts import counted, counted_doing
from .. import log_keys

_LOGGER = logging.getLogger("stoker.worker")

LATE_AFTER_S: Final = 30.0
"""A join takes a fraction of a second by the protocol of Kafka 4, and some seconds by the classic one."""
ASK_EVERY_S: Final = 30.0
REPEAT_S: Final = 600.0
"""How often the worker logs that it has no partitions, while it lasts."""
ANSWER_TIMEOUT_S: Final = 5.0

MemberState = Literal["joining", "working", "spare", "outside", "leaving"]
"""`spare`: there are more workers than partitions. `outside`: it has had none for long, which should not be.
`leaving`: it shuts down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """The state of the group, as the brokers know it.

    Attributes:
        partitions: of the queue's main topic.
        members: how many workers the group has.
        lists_us: whether this worker is one of them.
        state: Kafka's word for what the group is at.
    """

    partitions: int
    members: int
    lists_us: bool
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How this worker stands, and why it has no partitions; `level` is that of the log, None where others log it."""

    member_state: MemberState
    why: str
    level: int | None


JOINING: Final = Judgement(member_state="joining", why="the group has not shared its partitions out yet", level=None)
CUT_OFF: Final = Judgement(member_state="outside", why="the brokers do not answer", level=None)
WORKING: Final = Judgement(member_state="working", why="", level=None)
LEAVING: Final = Judgement(member_state="leaving", why="the worker shuts down", level=None)


class Membership:
    """Tells whether the group has given this worker partitions, and asks the brokers why where it has not.

    The poll thread calls it. `judgement` may be read by any thread, and is written by two: the poll thread, and the
    one that asks the brokers. An answer that comes just after partitions did may replace `WORKING` until the next
    `check`.
    """

    def __init__(self, queue: Queue, ask: Callable[[], GroupView]) -> None:
        self._queue = queue
        self._ask = ask
        self._began_at_s: float | None = None
        self._next_ask_at_s = 0.0
        self._next_log_at_s = 0.0
        self._logged: MemberState = "joining"
        self._is_doubted = False
        self.judgement = JOINING
        self._client_error = ""

    def check(self, now_s: float, *, has_partitions: bool, has_brokers: bool = True) -> None:
        """Take note of this moment; to be called every second or so, and never waits.

        Without brokers the group cannot share partitions out, so the time for that begins when they are back.
        """
        if has_partitions:
            self._set_working()
        elif not has_brokers:
            self._began_at_s, self.judgement = now_s, CUT_OFF
        elif self._began_at_s is None:
            self._began_at_s, self.judgement = now_s, JOINING
        elif now_s - self._began_at_s >= LATE_AFTER_S and now_s >= self._next_ask_at_s:
            self._next_ask_at_s = now_s + ASK_EVERY_S
            threading.Thread(
                target=self._find_out, args=(now_s,), name=f"stoker-group-{self._queue.name}", daemon=True
            ).start()

    def note_client_error(self, error: str) -> None:
        """Keep the last error of the group's client: it may be why there are no partitions."""
        self._client_error = error

    def leave(self) -> None:
        """Note that the worker shuts down; nothing is looked at from now on."""
        self._began_at_s, self.judgement = None, LEAVING

    def _set_working(self) -> None:
        if self._logged == "outside":
            _LOGGER.warning(
                "queue %r: the group has given this worker partitions, and their jobs start", self._queue.name,
                extra={log_keys.QUEUE: self._queue.name},
            )  # fmt: skip
        self._began_at_s, self._logged, self.judgement, self._client_error = None, "working", WORKING, ""

    def _find_out(self, now_s: float) -> None:
        """Ask the brokers, in a thread of its own, since they may not answer."""
        found = judge(self._queue, self._ask, self._client_error)
        if self._began_at_s is None:
            return  # the partitions came meanwhile
        if self.judgement.member_state == "spare" and found.member_state == "outside" and not self._is_doubted:
            self._is_doubted = True  # another worker has just left, perhaps, and its partitions are on their way here
            return
        self._is_doubted = False
        self.judgement = found
        if found.level is None or (found.member_state == self._logged and now_s < self._next_log_at_s):
            return
        self._logged, self._next_log_at_s = found.member_state, now_s + REPEAT_S
        _LOGGER.log(found.level, "queue %r: %s", self._queue.name, found.why, extra={log_keys.QUEUE: self._queue.name})


def judge(queue: Queue, ask: Callable[[], GroupView], client_error: str) -> Judgement:
    """Describe why a worker has had no partitions for long, by what the brokers know of the group."""
    try:
        found = ask()
    except KafkaException as failure:
        return _unanswered(queue, failure)
    if found.lists_us and found.members > found.partitions > 0:
        why = f"{_sharing(found)}, so this one has none until another leaves"
        return Judgement(member_state="spare", why=why, level=logging.INFO)
    return Judgement(member_state="outside", why=_of_outside(queue, found, client_error), level=logging.ERROR)


def _sharing(found: GroupView) -> str:
    return f"{counted_doing(found.members, 'worker', 'share')} {counted(found.partitions, 'partition')}"


def _of_outside(queue: Queue, found: GroupView, client_error: str) -> str:
    head = f"this worker has had no partitions for {LATE_AFTER_S:g} s, and runs no jobs. "
    last_error = f" The last error of its client: {client_error}" if client_error else ""
    if found.partitions == 0:
        return f"{head}Topic {queue.topic} does not exist; run `stoker topology apply`{last_error}"
    if found.lists_us:
        return (
            f"{head}Group {queue.group} ({found.state}) lists it, and {_sharing(found)}: "
            "another one does not give its own back, or has died. If it died, this ends by itself after "
            f"the session timeout; else see that one's log, and restart it{last_error}"
        )
    return (
        f"{head}Group {queue.group} has {counted(found.members, 'other member')} and has not answered its join. "
        "See that this client has the right Read on the group, and that the brokers know the group protocol: for those "
        f"before Kafka 4.0 set `--option group.protocol=classic`{last_error}"
    )


def _unanswered(queue: Queue, failure: KafkaException) -> Judgement:
    error = failure.args[0]
    if remedy_of(error) is Remedy.WAIT:  # an outage, which is logged where it is noticed
        return Judgement(member_state="outside", why=f"the brokers do not answer ({error.str()})", level=None)
    why = (
        f"this worker has had no partitions for {LATE_AFTER_S:g} s, and the brokers refuse to describe its group "
        f"{queue.group} ({error.str()}); grant this client Read on the group"
    )
    return Judgement(member_state="outside", why=why, level=logging.ERROR)


def view_group(cluster: ClusterSettings, queue: Queue, worker_id: str) -> GroupView:
    """Ask the brokers for the group.

    Raises:
        KafkaException: they do not answer, or refuse to.
    """
    client_id = f"{worker_id}-group"
    admin = AdminClient(cluster.client_config(log_level=2, client_id=client_id))
    topic = admin.list_topics(queue.topic, timeout=ANSWER_TIMEOUT_S).topics[queue.topic]
    group = describe_groups(cluster, [queue.group], ANSWER_TIMEOUT_S, client_id=client_id)[queue.group]
    if isinstance(group, KafkaError):
        raise KafkaException(group)
    return GroupView(
        partitions=len(topic.partitions),
        members=len(group.members),
        lists_us=any(member.client_id == worker_id for member in group.members),
        state=group.state.name.lower(),
    )
