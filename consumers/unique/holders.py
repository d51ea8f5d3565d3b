"""`Holders`: who holds each identity of a partition: restored from the topics, forgotten when nothing depends on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from threading import Lock

from ...topology.declaration.unique import Unique
from .arrival import Arrival, Identity
from .ends import UniqueEnd
from .holder import Holder, HolderPhase
from .waiting_holders import WaitingHolder


class Holders:
    """The holders of one partition's identities; runners, the settler and the poll thread share them.

    Args:
        types: {job type: how its jobs are unique}.
        most_ended: so many ended holders of a type are kept; the oldest are forgotten beyond.

    Attributes:
        lock: guards them, and what `UniqueJobs` decides by beside them. Methods that restore and forget take it, and
            hold it for one holder at a time; `UniqueJobs` has it when it calls the others.
    """

    def __init__(self, types: Mapping[str, Unique], most_ended: int) -> None:
        self._types = types
        self._most_ended = most_ended
        self.lock = Lock()
        self._holders: dict[Identity, Holder] = {}
        self._to_come: dict[Identity, set[Arrival]] = {}
        """Jobs that were replaced while they waited elsewhere, and whose records have not come yet."""
        self._ended: dict[str, deque[tuple[Identity, Holder]]] = {name: deque() for name in types}
        """Added to under the lock; the poll thread alone takes out."""

    def __len__(self) -> int:
        """How many identities are held."""
        return len(self._holders)

    # ---- for `UniqueJobs`, which has the lock

    def find(self, identity: Identity) -> Holder | None:
        """The holder of an identity."""
        return self._holders.get(identity)

    def put(self, identity: Identity, holder: Holder) -> None:
        """Let a job hold an identity, in the place of any other."""
        self._holders[identity] = holder

    def end(self, job_type: str, identity: Identity, holder: Holder, now_ms: int) -> UniqueEnd | None:
        """Remember that the job of the holder has ended; None where it never ran: then it is in no other's way."""
        if holder.began_ms is None or holder.stopped_ms is None:
            del self._holders[identity]
            return None
        if holder.ended_ms is None:
            holder.end(now_ms)
            self._ended[job_type].append((identity, holder))
        return UniqueEnd(
            job_type, identity, holder.arrival, holder.began_ms, holder.stopped_ms, holder.ended_ms or now_ms
        )

    def note_replaced(self, identity: Identity, former: Holder) -> None:
        """Remember that a waiting job was replaced: until its record has come, its winner is not forgotten."""
        self._to_come.setdefault(identity, set()).add(former.arrival)

    def note_outcome(self, identity: Identity, own: Arrival) -> None:
        """Note that a record has come and has an outcome; its job may have been replaced."""
        to_come = self._to_come.get(identity)
        if to_come is not None:
            to_come.discard(own)
            if not to_come:
                del self._to_come[identity]

    # ---- restoring

    def restore_end(self, end: UniqueEnd) -> None:
        """Take an end of the ledger's topic; those of one identity may come in any order."""
        if end.job_type in self._types:
            self._restore(end.job_type, end.identity, end.holder())

    def restore_waiting(self, found: Iterable[WaitingHolder]) -> None:
        """Take the holders that wait in a tier or a delay topic; one that has ended is known to have."""
        for job_type, identity, holder in found:
            if job_type in self._types:
                self._restore(job_type, identity, holder)

    def absorb_ended(self, former: Holders) -> None:
        """Take over the jobs that have ended in another assignment of this process, or by another reading."""
        for job_type, ended in former._ended.items():
            for identity, holder in list(ended):
                self._restore(job_type, identity, holder)

    def _restore(self, job_type: str, identity: Identity, holder: Holder) -> None:
        with self.lock:
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
            self.note_replaced(identity, former)

    # ---- forgetting, in the poll thread

    def note_gone(self, now_ms: int) -> None:
        """Note that the brokers have deleted waiting records: what should have come by now holds nothing any more."""
        with self.lock:
            self._to_come.clear()  # perhaps these were among them
            for identity, holder in list(self._holders.items()):
                if holder.phase is HolderPhase.WAITING and (holder.due_ms or 0) <= now_ms:
                    del self._holders[identity]

    def forget_old(self, complete_ms: int) -> None:
        """Forget ended holders that no job still to come can be a duplicate of.

        Args:
            complete_ms: all jobs have had their turn that arrived before.
        """
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
        with self.lock:
            is_holder = self._holders.get(identity) is ended and ended.phase is HolderPhase.ENDED
            if is_holder and identity in self._to_come:
                return False
            if is_holder:
                del self._holders[identity]
            return True


def _is_over(holder: Holder, within_ms: int, complete_ms: int) -> bool:
    return max(holder.ended_ms or 0, holder.arrival.at_ms + within_ms) <= complete_ms


def _is_news(known: Holder, found: Holder) -> bool:
    """Whether a holder that was found is to take the place of the known one: it is later, or the end of the same."""
    if known.arrival == found.arrival:
        return found.phase is HolderPhase.ENDED and known.phase is not HolderPhase.ENDED
    return known.arrival < found.arrival
