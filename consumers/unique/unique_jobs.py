"""`UniqueJobs`: who holds each identity of a partition, and which jobs end as duplicates of others.

    note_arrival   the poll thread has read a job, whose turn comes later
    admit          its turn has come: it runs, waits until its time, or ends as a duplicate
    note           it has an outcome; called before the next job of its key has its turn
    take_end       the settler writes what the ledger is to remember of its end

Jobs of one identity have one key, so they have their turns one after the other, in the order in which they came.
`UniqueJobs` decides by two parts, both under one lock: `Holders` (who holds each identity, as the topics have it as
well) and `Heirs` (who has come since, and takes over).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from ...topology.declaration.delays import delay_class
from ...topology.declaration.unique import Unique
from ...topology.wire import headers as wire
from ..progress.assignment import Place
from ..records.outcomes import (
    Cancelled,
    Dead,
    Deferred,
    Delayed,
    Done,
    Outcome,
    Retried,
    Skipped,
    Snoozed,
    is_lasting,
)
from ..records.record import Record
from ..sources.source import Source
from ..standing_orders.cancels import NO_CANCELS, Cancels
from .arrival import (
    Arrival,
    Identity,
    arrival_of,
    identity_of,
    instant_ms,
    is_accepted,
    time_headers,
    utc_of,
)
from .complete_times import CompleteTimes
from .ends import UniqueEnd
from .heirs import Heirs
from .holder import Holder, HolderPhase
from .holders import Holders

FAR_OFF_MS: Final = 10_000
"""A replaced job that is due sooner ends by itself."""
NOT_RUN: Final = frozenset({"malformed", "undecodable", "schema-mismatch", "never-known"})
"""Dead reasons of jobs that did not run."""
_Waits = Retried | Snoozed | Deferred | Delayed
_Unique = tuple[Unique, Identity, Arrival]


class UniqueJobs:
    """The unique jobs of one partition; runners, the settler and the poll thread call it.

    The lock of its holders guards them and the heirs, for the whole of each decision.

    Args:
        types: {job type: how its jobs are unique}.
        holders: those that were restored; it goes on with them.

    Attributes:
        replaced: the places of records that wait for a far time, and whose jobs have lost their identity.
    """

    def __init__(self, types: Mapping[str, Unique], holders: Holders, clock: Callable[[], float] = time.time) -> None:
        self._types = types
        self._holders, self._lock = holders, holders.lock
        self._clock = clock
        self._heirs = Heirs()
        self._to_write: dict[Record, UniqueEnd] = {}
        self._complete_times = CompleteTimes()
        self.replaced: deque[Place] = deque()

    def _unique(self, record: Record) -> _Unique | None:
        identity = identity_of(record)
        rule = None if identity is None else self._types.get(_type_of(record))
        return None if rule is None or identity is None else (rule, identity, arrival_of(record))

    # ---- for the poll thread

    def absorb_former(self, former: UniqueJobs) -> None:
        """Take over what an earlier assignment of this process has not written, or brought forward, yet."""
        self._holders.absorb_ended(former._holders)
        self.replaced.extend(former.replaced)
        self._to_write.update(former._to_write)

    def note_read(self, source: Source, next_offset: int, at_ms: int) -> None:
        """Note that all records of a topic which arrived before a time have been read, and lie below an offset."""
        self._complete_times.note_read(source, next_offset, at_ms)

    def note_arrival(self, record: Record) -> None:
        """Note a job that has been read and is not settled; those before it that it replaces end in its favour.

        Nothing ends in favour of a repetition of the holder's job: the ledger may have that when its turn comes.
        """
        found = self._unique(record)
        if found is not None and found[0].replaces and not is_accepted(record):
            _, identity, arrival = found
            with self._lock:
                holder = self._holders.find(identity)
                if holder is None or not arrival.name or holder.arrival.name != arrival.name:
                    self._heirs.note_arrival(identity, arrival)

    def forget_unread(self) -> None:
        """Forget all jobs whose turn is still to come, since offsets went back: some may be gone with the log's end."""
        with self._lock:
            self._heirs = Heirs()

    def note_waiting(self, record: Record) -> bool:
        """Note where a record is to wait until it is due, to bring it forward when its job is replaced.

        Returns:
            Whether it is to end at once instead: its job has lost its identity to a later one already.
        """
        found = self._unique(record)
        if found is None or not found[0].replaces:
            return False
        _, identity, arrival = found
        with self._lock:
            holder = self._holders.find(identity)
            if holder is not None and holder.arrival == arrival:
                holder.note_place((record.assignment, record.offset))
            return holder is not None and holder.arrival > arrival

    def take_replaced(self) -> Place | None:
        """The place of a replaced record that is to be brought forward; None where there is none."""
        return self.replaced.popleft() if self.replaced else None

    def note_gone(self) -> None:
        """Note that the brokers have deleted waiting records: what should have come by now holds nothing any more."""
        self._holders.note_gone(self._now_ms())

    def forget_old(self, committable: Mapping[Source, int | None]) -> None:
        """Forget ended holders that no job still to come can be a duplicate of; called every second or so.

        Args:
            committable: below which offset of each topic that producers publish to all jobs have had their turn.
        """
        self._holders.forget_old(self._complete_times.up_to(committable))

    # ---- for runners

    def admit(self, record: Record, cancels: Cancels = NO_CANCELS) -> Cancelled | Delayed | None:
        """Decide about a job whose turn has come: None where it runs now.

        Args:
            cancels: those that stand: a job does not end in favour of one that is cancelled.
        """
        found = self._unique(record)
        if found is None or found[2].expires_ms <= self._now_ms():
            return None  # what has expired ends as that
        with self._lock:
            return self._admit(record, *found, cancels)

    def _admit(
        self, record: Record, rule: Unique, identity: Identity, own: Arrival, cancels: Cancels
    ) -> Cancelled | Delayed | None:
        self._heirs.note_turn(identity, own)
        winner = self._present_winner(record, rule, identity, own)
        if winner is None and not self._ends_unrun(self._heirs.latest(identity), cancels):
            winner = self._heirs.appoint(record, rule, identity, own, self._holders.find(identity))
        if winner is not None:
            return _duplicate(own, winner, identity)
        holder = self._become_holder(record, rule, identity, own)
        due_ms = None if is_accepted(record) else _due_ms(record, rule, holder)
        now_ms = self._now_ms()
        holder.begin_turn(now_ms)
        if due_ms is None or due_ms <= now_ms:
            return None
        return Delayed(due=utc_of(due_ms), delay=delay_class(timedelta(milliseconds=due_ms - now_ms)))

    def _ends_unrun(self, later: Arrival | None, cancels: Cancels) -> bool:
        """Whether a later job has expired, or is cancelled, so that it takes no other's place."""
        if later is None:
            return False
        return later.expires_ms <= self._now_ms() or (cancels.stands and cancels.order_about(later.job_id) is not None)

    def _present_winner(self, record: Record, rule: Unique, identity: Identity, own: Arrival) -> Arrival | None:
        """The holder that a job loses to; None where it does not lose to the holder."""
        holder = self._holders.find(identity)
        if holder is None or holder.arrival == own or self._heirs.is_heir(identity, own):
            return None
        is_replaced = rule.replaces and holder.arrival > own  # perhaps before a restart
        if is_replaced or (not is_accepted(record) and holder.is_in_the_way_of(own, rule)):
            return holder.arrival
        return None

    def _become_holder(self, record: Record, rule: Unique, identity: Identity, own: Arrival) -> Holder:
        former = self._holders.find(identity)
        if former is not None and former.arrival == own:
            return former
        holder = Holder(arrival=own, first_ms=own.at_ms)
        if former is not None and former.arrival > own:
            return holder  # an older one goes on beside the holder, such as a retry where one may run in each period
        self._holders.put(identity, holder)
        heir = self._heirs.take(identity)
        if former is not None and former.phase is HolderPhase.WAITING and rule.replaces:
            holder.take_over(former.due_ms, former.put_off_since(own))
            self._holders.note_replaced(identity, former)
            self._bring_forward(former)
        if heir is not None and heir.arrival == own:
            holder.take_over(heir.due_ms, heir.first_ms)
        holder.note_first(instant_ms(record.header(wire.PUT_OFF_SINCE), holder.first_ms))
        return holder

    def _bring_forward(self, former: Holder) -> None:
        if former.place is not None and (former.due_ms or 0) - self._now_ms() > FAR_OFF_MS:
            self.replaced.append(former.place)

    # ---- what became of it

    def note(self, record: Record, outcome: Outcome, *, has_ended: bool = False) -> None:
        """Take the outcome of a record, before the next job of its key has its turn.

        Args:
            has_ended: whether the ledger has its job for completed, where the record was skipped.
        """
        found = self._unique(record)
        if found is None or not (record.assignment.is_active or is_lasting(outcome)):
            return
        _, identity, own = found
        with self._lock:
            if not record.assignment.is_active:
                self._end_late(record, identity, own)
                return
            self._heirs.note_outcome(identity, own)
            self._holders.note_outcome(identity, own)
            holder = self._holders.find(identity)
            if holder is not None and isinstance(outcome, Skipped):
                self._end_if_skipped(record, identity, holder, has_ended=has_ended)
            elif holder is not None and holder.arrival == own:
                self._update_holder(record, outcome, identity, holder)

    def _end_if_skipped(self, record: Record, identity: Identity, holder: Holder, *, has_ended: bool) -> None:
        if has_ended and holder.arrival.name == record.deduplication_id and holder.phase is not HolderPhase.ENDED:
            self._end(record, identity, holder)

    def _end_late(self, record: Record, identity: Identity, own: Arrival) -> None:
        """A job has ended whose partition has been given away, and may be here again."""
        holder = self._holders.find(identity)
        if holder is None or holder.arrival < own:
            holder = Holder(arrival=own, first_ms=own.at_ms)
            self._holders.put(identity, holder)
        if holder.arrival == own:
            holder.note_run(self._now_ms())
            self._end(record, identity, holder)

    def _update_holder(self, record: Record, outcome: Outcome, identity: Identity, holder: Holder) -> None:
        if holder.phase is HolderPhase.RUNNING and _has_run(record, outcome):
            holder.note_run(self._now_ms())
        if isinstance(outcome, _Waits):
            holder.wait_until(round(outcome.due.timestamp() * 1_000))
        elif isinstance(outcome, Done | Dead | Cancelled):
            self._end(record, identity, holder)

    def _end(self, record: Record, identity: Identity, holder: Holder) -> None:
        end = self._holders.end(_type_of(record), identity, holder, self._now_ms())
        if end is not None:
            self._to_write[record] = end

    # ---- for the settler

    def take_end(self, record: Record, outcome: Outcome) -> UniqueEnd | None:
        """Records by which the ledger remembers a job's end, written before its name; None where there are none.

        A job that was to wait may have ended in a dead letter instead, since no topic takes it: that is noted here.
        """
        if record not in self._to_write:
            self.note(record, outcome)
        return self._to_write.pop(record, None)

    def times_of(self, record: Record) -> wire.HeaderList:
        """The headers that a record which waits elsewhere needs, in addition to its own."""
        found = self._unique(record)
        if found is None:
            return []
        _, identity, own = found
        with self._lock:
            holder = self._holders.find(identity)
            first_ms = holder.first_ms if holder is not None and holder.arrival == own else own.at_ms
        return time_headers(own, first_ms if first_ms != own.at_ms else None)

    def _now_ms(self) -> int:
        return int(self._clock() * 1_000)


def _type_of(record: Record) -> str:
    return (record.header(wire.JOB_TYPE) or b"").decode("utf-8", "backslashreplace")


def _due_ms(record: Record, rule: Unique, holder: Holder) -> int | None:
    """When a job that has become the holder may start; None where its own record decides that."""
    if record.header(wire.DUE) is not None:
        return None
    if rule.on_conflict != "put_off":
        return holder.kept_due_ms
    due_ms = holder.arrival.at_ms + rule.wait_ms
    return due_ms if rule.longest_ms is None else min(due_ms, holder.first_ms + rule.longest_ms)


def _has_run(record: Record, outcome: Outcome) -> bool:
    """Whether the handler of a job was called in its present turn; a cancel may have come before that."""
    match outcome:
        case Dead(reason=reason):
            return reason not in NOT_RUN
        case Cancelled(reason="cancelled"):
            return record.ended_at_s > 0.0
        case Cancelled(reason=reason):
            return reason == "discarded"
        case Done() | Retried() | Snoozed():
            return True
        case _:
            return False


def _duplicate(own: Arrival, winner: Arrival, identity: Identity) -> Cancelled:
    """The outcome of a job that has lost."""
    shown = identity[1].decode("utf-8", "backslashreplace")
    order = "came before" if winner < own else "came later"
    return Cancelled(
        reason="duplicate",
        detail=f"it is a duplicate of {winner.job_id}, which {order} and has the identity {shown}",
        winner=winner.job_id,
    )
