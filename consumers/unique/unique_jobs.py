"""`UniqueJobs`: who holds each identity of a partition, and which jobs end as duplicates of others.

    note_arrival   the poll thread has read a job, whose turn comes later
    admit          its turn has come: it runs, waits until its time, or ends as a duplicate
    note           it has an outcome; called before the next job of its key has its turn
    take_end       the settler writes what the ledger is to remember of its end

Jobs of one identity have one key, so they have their turns one after the other, in the order in which they came.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from threading import Lock
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
from .arrival import Arrival, Identity, arrival_of, identity_of, instant_ms, is_accepted, time_headers, utc_of
from .complete_times import CompleteTimes
from .ends import UniqueEnd
from .holder import Heir, Holder, HolderPhase
from .waiting_holders import WaitingHolder

FAR_OFF_MS: Final = 10_000
"""A replaced job that is due sooner ends by itself."""
NOT_RUN: Final = frozenset({"malformed", "undecodable", "schema-mismatch", "never-known"})
"""Dead reasons of jobs that did not run."""
_Waits = Retried | Snoozed | Deferred | Delayed
_Unique = tuple[Unique, Identity, Arrival]


class UniqueJobs:
    """The unique jobs of one partition; runners, the settler and the poll thread call it.

    Args:
        types: {job type: how its jobs are unique}.
        most_ended: so many ended holders of a type are kept; the oldest are forgotten beyond.

    Attributes:
        complete_times: up to which arrival all jobs of the main topic are complete.
        replaced: the places of records that wait for a far time, and whose jobs have lost their identity.
    """

    def __init__(self, types: Mapping[str, Unique], most_ended: int, clock: Callable[[], float] = time.time) -> None:
        self._types = types
        self._most_ended = most_ended
        self._clock = clock
        self._lock = Lock()
        self._holders: dict[Identity, Holder] = {}
        self._latest: dict[Identity, Arrival] = {}
        self._heirs: dict[Identity, Heir] = {}
        self._to_come: dict[Identity, set[Arrival]] = {}
        """Jobs that were replaced while they waited elsewhere, and whose records have not come yet."""
        self._ended: dict[str, deque[tuple[Identity, Holder]]] = {name: deque() for name in types}
        self._to_write: dict[Record, UniqueEnd] = {}
        self.complete_times = CompleteTimes()
        self._complete_times_beside: dict[Source, CompleteTimes] = {}
        self.replaced: deque[Place] = deque()

    def __len__(self) -> int:
        """How many identities are held."""
        return len(self._holders)

    def _unique(self, record: Record) -> _Unique | None:
        identity = identity_of(record)
        rule = None if identity is None else self._types.get(_type_of(record))
        return None if rule is None or identity is None else (rule, identity, arrival_of(record))

    # ---- for the poll thread

    def complete_times_of(self, source: Source) -> CompleteTimes:
        """Up to which arrival all jobs of a topic have had their turn, to which jobs are published."""
        if source.is_beside_main:
            return self._complete_times_beside.setdefault(source, CompleteTimes())
        return self.complete_times

    def note_arrival(self, record: Record) -> None:
        """Note a job that has been read and is not settled; those before it that it replaces end in its favour."""
        found = self._unique(record)
        if found is not None and found[0].replaces and not is_accepted(record):
            _, identity, arrival = found
            with self._lock:
                latest = self._latest.get(identity)
                if latest is None or latest < arrival:
                    self._latest[identity] = arrival

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
            holder = self._holders.get(identity)
            if holder is not None and holder.arrival == arrival:
                holder.note_place((record.assignment, record.offset))
            return holder is not None and holder.arrival > arrival

    def note_gone(self) -> None:
        """Note that the brokers have deleted waiting records: what should have come by now holds nothing any more."""
        now_ms = self._now_ms()
        with self._lock:
            self._to_come.clear()  # perhaps these were among them
            for identity, holder in list(self._holders.items()):
                if holder.phase is HolderPhase.WAITING and (holder.due_ms or 0) <= now_ms:
                    del self._holders[identity]

    # ---- for runners

    def admit(self, record: Record) -> Cancelled | Delayed | None:
        """Decide about a job whose turn has come: None where it runs now."""
        found = self._unique(record)
        if found is None or instant_ms(record.header(wire.EXPIRES), _NEVER) <= self._now_ms():
            return None  # what has expired ends as that
        with self._lock:
            return self._admit(record, *found)

    def _admit(self, record: Record, rule: Unique, identity: Identity, own: Arrival) -> Cancelled | Delayed | None:
        self._forget_latest(identity, own)
        winner = self._present_winner(record, rule, identity, own)
        later = self._latest.get(identity)
        if winner is None and later is not None:
            heir = self._heir_of(record, rule, identity, own, later)
            if heir is not None:
                self._heirs[identity] = heir
                winner = heir.arrival
        if winner is not None:
            return _duplicate(own, winner, identity)
        holder = self._become_holder(record, rule, identity, own)
        due_ms = None if is_accepted(record) else self._due_ms(record, rule, holder)
        now_ms = self._now_ms()
        holder.claim(now_ms)
        if due_ms is None or due_ms <= now_ms:
            return None
        return Delayed(due=utc_of(due_ms), delay=delay_class(timedelta(milliseconds=due_ms - now_ms)))

    def _forget_latest(self, identity: Identity, own: Arrival) -> None:
        latest = self._latest.get(identity)
        if latest is not None and latest <= own:
            del self._latest[identity]

    def _present_winner(self, record: Record, rule: Unique, identity: Identity, own: Arrival) -> Arrival | None:
        """The holder that a job loses to; None where it does not lose to the holder."""
        holder, heir = self._holders.get(identity), self._heirs.get(identity)
        if holder is None or holder.arrival == own or (heir is not None and heir.arrival == own):
            return None
        is_replaced = rule.replaces and holder.arrival > own  # perhaps before a restart
        if is_replaced or (not is_accepted(record) and holder.is_in_the_way_of(own, rule)):
            return holder.arrival
        return None

    def _heir_of(self, record: Record, rule: Unique, identity: Identity, own: Arrival, later: Arrival) -> Heir | None:
        """A later job that has been read takes over what one whose turn has come has, and has taken over itself."""
        heir, holder = self._heirs.get(identity), self._holders.get(identity)
        if not rule.replaces:
            return None
        if holder is not None and holder.arrival == own and holder.is_in_the_way_of(later, rule):
            return None
        due_ms, first_ms = None, own.at_ms
        if heir is not None:
            due_ms, first_ms = heir.due_ms, min(first_ms, heir.first_ms)
        elif holder is not None and holder.phase is HolderPhase.WAITING:
            due_ms, first_ms = holder.due_ms, min(first_ms, _put_off_since(holder, own))
        own_due_ms = instant_ms(record.header(wire.DUE), _NEVER)
        return Heir(later, due_ms if own_due_ms == _NEVER else own_due_ms, first_ms)

    def _become_holder(self, record: Record, rule: Unique, identity: Identity, own: Arrival) -> Holder:
        former = self._holders.get(identity)
        if former is not None and former.arrival == own:
            return former
        holder = Holder(arrival=own, first_ms=own.at_ms)
        if former is not None and former.arrival > own:
            return holder  # an older one goes on beside the holder, such as a retry where one may run in each period
        self._holders[identity] = holder
        heir = self._heirs.pop(identity, None)
        if former is not None and former.phase is HolderPhase.WAITING and rule.replaces:
            holder.take_over(former.due_ms, _put_off_since(former, own))
            self._to_come.setdefault(identity, set()).add(former.arrival)
            self._bring_forward(former)
        if heir is not None and heir.arrival == own:
            holder.take_over(heir.due_ms, heir.first_ms)
        holder.note_first(instant_ms(record.header(wire.PUT_OFF_SINCE), holder.first_ms))
        return holder

    def _bring_forward(self, former: Holder) -> None:
        if former.place is not None and (former.due_ms or 0) - self._now_ms() > FAR_OFF_MS:
            self.replaced.append(former.place)

    def _due_ms(self, record: Record, rule: Unique, holder: Holder) -> int | None:
        """When a job that has become the holder may start; None where its own record decides that."""
        if record.header(wire.DUE) is not None:
            return None
        if rule.on_conflict != "put_off":
            return holder.kept_due_ms
        due_ms = holder.arrival.at_ms + rule.wait_ms
        return due_ms if rule.longest_ms is None else min(due_ms, holder.first_ms + rule.longest_ms)

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
            self._end_waiting(identity, own)
            holder = self._holders.get(identity)
            if holder is not None and isinstance(outcome, Skipped):
                self._end_if_skipped(record, identity, holder, has_ended=has_ended)
            elif holder is not None and holder.arrival == own:
                self._update_holder(record, outcome, identity, holder)

    def _end_waiting(self, identity: Identity, own: Arrival) -> None:
        """A job does not wait for its turn any more; it may have ended without, or have been replaced."""
        self._forget_latest(identity, own)
        heir = self._heirs.get(identity)
        if heir is not None and heir.arrival == own:
            del self._heirs[identity]
        to_come = self._to_come.get(identity)
        if to_come is not None:
            to_come.discard(own)
            if not to_come:
                del self._to_come[identity]

    def _end_if_skipped(self, record: Record, identity: Identity, holder: Holder, *, has_ended: bool) -> None:
        if has_ended and holder.arrival.name == record.deduplication_id and holder.phase is not HolderPhase.ENDED:
            self._end(record, identity, holder)

    def _end_late(self, record: Record, identity: Identity, own: Arrival) -> None:
        """A job has ended whose partition has been given away, and may be here again."""
        holder = self._holders.get(identity)
        if holder is None or holder.arrival < own:
            holder = self._holders[identity] = Holder(arrival=own, first_ms=own.at_ms)
        if holder.arrival == own:
            holder.note_run(self._now_ms())
            self._end(record, identity, holder)

    def _update_holder(self, record: Record, outcome: Outcome, identity: Identity, holder: Holder) -> None:
        now_ms = self._now_ms()
        if holder.phase is HolderPhase.RUNNING and _has_run(outcome):
            holder.note_run(now_ms)
        if isinstance(outcome, _Waits):
            holder.wait_until(round(outcome.due.timestamp() * 1_000))
        elif isinstance(outcome, Done | Dead | Cancelled):
            self._end(record, identity, holder)

    def _end(self, record: Record, identity: Identity, holder: Holder) -> None:
        """Remember the end, unless the job never ran: then it is in no other job's way."""
        if holder.began_ms is None or holder.stopped_ms is None:
            del self._holders[identity]
            return
        name = _type_of(record)
        if holder.ended_ms is None:
            holder.end(self._now_ms())
            self._ended[name].append((identity, holder))
        self._to_write[record] = UniqueEnd(
            name, identity, holder.arrival, holder.began_ms, holder.stopped_ms, holder.ended_ms or self._now_ms()
        )

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
            holder = self._holders.get(identity)
            first_ms = holder.first_ms if holder is not None and holder.arrival == own else own.at_ms
        return time_headers(own, first_ms if first_ms != own.at_ms else None)

    # ---- restoring, forgetting

    def restore_end(self, end: UniqueEnd) -> None:
        """Take an end of the ledger's topic; those of one identity may come in any order."""
        if end.job_type in self._types:
            self._restore(end.job_type, end.identity, end.holder())

    def restore_waiting(self, found: Iterable[WaitingHolder]) -> None:
        """Take the holders that wait in a tier or a delay topic; one that has ended is known to have."""
        for job_type, identity, holder in found:
            if job_type in self._types:
                self._restore(job_type, identity, holder)

    def absorb_former(self, former: UniqueJobs) -> None:
        """Take over what an earlier assignment of this process has not written, or brought forward, yet."""
        self.absorb_ended(former)
        self.replaced.extend(former.replaced)
        self._to_write.update(former._to_write)

    def absorb_ended(self, former: UniqueJobs) -> None:
        """Take over the jobs that have ended in another assignment of this process, or by another reading."""
        for job_type, ended in former._ended.items():
            for identity, holder in list(ended):
                self._restore(job_type, identity, holder)

    def _restore(self, job_type: str, identity: Identity, holder: Holder) -> None:
        with self._lock:
            known = self._holders.get(identity)
            if known is not None and self._types[job_type].replaces:
                self._note_to_come(identity, known, holder)
            if known is None or _is_news(known, holder):
                self._holders[identity] = holder
                if holder.phase is HolderPhase.ENDED:
                    self._ended[job_type].append((identity, holder))

    def _note_to_come(self, identity: Identity, one: Holder, other: Holder) -> None:
        """Note which of two holders of an identity was replaced, if that one waits."""
        former, holder = sorted((one, other), key=lambda found: found.arrival)
        if former.arrival < holder.arrival and former.phase is HolderPhase.WAITING:
            self._to_come.setdefault(identity, set()).add(former.arrival)

    def forget_old(self, committable: int | None, beside: Mapping[Source, int | None] | None = None) -> None:
        """Forget ended holders that no job still to come can be a duplicate of; called every second or so.

        Args:
            committable: below this offset of the main topic, all jobs have had their turn.
            beside: the same of each topic beside the main one, to which jobs are published.
        """
        complete_ms = self.complete_times.up_to(committable)
        for source, below in (beside or {}).items():
            complete_ms = min(complete_ms, self.complete_times_of(source).up_to(below))
        for name, ended in self._ended.items():
            within_ms = self._types[name].within_ms
            kept: list[tuple[Identity, Holder]] = []
            while ended and (len(ended) > self._most_ended or _is_over(ended[0][1], within_ms, complete_ms)):
                identity, holder = ended.popleft()
                if not self._forget(identity, holder):
                    kept.append((identity, holder))
            ended.extendleft(reversed(kept))

    def _forget(self, identity: Identity, ended: Holder) -> bool:
        """Forget an ended holder; False where records of jobs that it has replaced are still to come."""
        with self._lock:
            is_holder = self._holders.get(identity) is ended and ended.phase is HolderPhase.ENDED
            if is_holder and identity in self._to_come:
                return False
            if is_holder:
                del self._holders[identity]
            return True

    def _now_ms(self) -> int:
        return int(self._clock() * 1_000)


_NEVER: Final = 1 << 62


def _type_of(record: Record) -> str:
    return (record.header(wire.JOB_TYPE) or b"").decode("utf-8", "backslashreplace")


def _is_over(holder: Holder, within_ms: int, complete_ms: int) -> bool:
    return max(holder.ended_ms or 0, holder.arrival.at_ms + within_ms) <= complete_ms


def _is_news(known: Holder, found: Holder) -> bool:
    """Whether a holder that was found is to take the place of the known one: it is later, or the end of the same."""
    if known.arrival == found.arrival:
        return found.phase is HolderPhase.ENDED and known.phase is not HolderPhase.ENDED
    return known.arrival < found.arrival


def _put_off_since(former: Holder, own: Arrival) -> int:
    """A job that has run puts nothing off any more: a retry of it is replaced by the first of a new series."""
    return own.at_ms if former.began_ms is not None else former.first_ms


def _has_run(outcome: Outcome) -> bool:
    match outcome:
        case Dead(reason=reason):
            return reason not in NOT_RUN
        case Cancelled(reason=reason):
            return reason in ("discarded", "cancelled")
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
