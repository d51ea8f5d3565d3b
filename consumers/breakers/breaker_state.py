"""`BreakerState`: one breaker in this process, and what this process adds to what the fleet knows of it.

A breaker is closed, open, or half-open. It is open as long as an order of the control topic opens it, which a worker
has written, or an operator. When that order is over, the breaker is half-open: one worker that has a job for it leases
the probe, by an order that names the order before it. Of several leases the first one in the log counts. So one job of
the whole fleet probes, for as long as the worker that has the lease renews it.

A process that is killed amid this leaves an order with an end: when that has come, another worker leases the probe.
A worker that cannot write to the topic goes on with what it knows and decides itself.
"""

from __future__ import annotations

import math
import socket
import threading
import uuid
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Final

from ...topology import Breaker
from .failure_counts import FailureCounts
from .opening import Opening, Target, phase_of

LEASE_S: Final = 15.0
"""For so long a lease of the probe holds; the worker renews it while its job probes."""
RENEW_S: Final = 5.0
LEASE_AGAIN_S: Final = 2.0
"""A lease that nothing renews for so long is made again."""
OFFER_S: Final = 0.5
"""A job that was to probe and has not begun after so long is followed by the next one."""
WRITE_AGAIN_S: Final = 5.0
UNREAD_S: Final = 15.0
"""A process that has not read its own order after so long cannot read the topic, and decides by itself."""
LONGEST_PROBE_S: Final = 900.0
"""A probe that runs for longer counts no more: its job may never end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A breaker that is to be closed for the whole fleet."""

    order_id: str
    reason: str


Write = Opening | Closing


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A decision of this process, for logs and events: a breaker has opened, or closed."""

    target: Target
    opening: Opening | None
    reason: str


class BreakerState:
    """Called by all threads; the control thread writes what is to be written.

    Attributes:
        target: what it is about.
        rules: when it opens.
        opening: the order by which it is not closed; None while it is closed.
        changes: how often its state was replaced, leases of probes included; a run that began before a change does not
            count for it.
    """

    def __init__(
        self,
        target: Target,
        rules: Breaker,
        worker_id: str,
        *,
        on_change: Callable[[BreakerState, Change | None], None],
        clock: Callable[[], float],
    ) -> None:
        """Begin closed.

        Args:
            on_change: called after it has opened or closed, with what this process has decided itself, if it has.
        """
        self.target, self.rules = target, rules
        self._worker_id = worker_id
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.Lock()
        self._counts = FailureCounts(rules)
        self.opening: Opening | None = None
        self.changes = 0
        self._probe: Hashable | None = None
        self._probe_began_at_s = 0.0
        self._offered_at_s = -math.inf
        self._asked_at_s = -math.inf
        self._unconfirmed = ""
        self._decided_at_s = -math.inf
        self._lease: Opening | None = None
        self._leasing_since_at_s = -math.inf
        self._leased_at_s = -math.inf
        self._to_write: Write | None = None
        self._write_again: tuple[float, Write] | None = None

    @property
    def phase(self) -> str:
        """The state in a word: `closed`, `open` or `half-open`."""
        return phase_of(self.opening, self._clock())

    # ---- asked by gates and blocks

    def admits(self, job: Hashable) -> bool:
        """Whether this job may begin; without effect."""
        opening = self.opening
        return opening is None or self._may_probe(opening, job)

    def _may_probe(self, opening: Opening, job: Hashable) -> bool:
        if opening.prober != self._worker_id or self._probe not in (None, job):
            return False
        return self._probe is not None or not opening.is_over(self._clock())

    def acquire(self, job: Hashable) -> int | None:
        """Let this job begin, as the probe where the breaker is half-open.

        Returns:
            The changes so far, for `note`; None where it may not begin.
        """
        if self.opening is None:
            return self.changes
        with self._lock:
            opening = self.opening
            if opening is not None:
                if not self._may_probe(opening, job):
                    self._asked_at_s = self._clock()
                    return None
                self._probe, self._probe_began_at_s = job, self._clock()
            return self.changes

    def give_back(self, job: Hashable) -> None:
        """Take note that a job does not begin after all."""
        if self._probe is not None:
            with self._lock:
                if self._probe == job:
                    self._probe = None

    def note(self, job: Hashable, began: int, *, failed: bool | None, why: str = "") -> None:
        """Take the end of a run, or of a block.

        Args:
            began: what `acquire` has given.
            failed: None where it does not count.
            why: of a failure.
        """
        if self._probe is None and (self.opening is not None or failed is None):
            return
        with self._lock:
            change = self._noted(job, began, failed, why)
        if change is not None:
            self._on_change(self, change)

    def _noted(self, job: Hashable, began: int, failed: bool | None, why: str) -> Change | None:
        opening = self.opening
        if opening is not None and self._probe == job:
            self._probe = None
            return self._probed(opening, failed, why)
        if opening is not None or failed is None or began != self.changes:
            return None
        reason = self._counts.note(failed=failed, now_s=self._clock())
        return self._open(1, self._clock(), f"{reason}, the last one with {why}") if reason else None

    def _probed(self, opening: Opening, failed: bool | None, why: str) -> Change | None:
        if failed is None:
            self._offered_at_s = -math.inf
            return None
        if failed:
            return self._open(opening.trips + 1, opening.since_at_s, f"the job that probed has failed with {why}")
        return self._close("the job that probed has ended well")

    def _open(self, trips: int, since_at_s: float, reason: str) -> Change:
        opening = Opening(
            order_id=str(uuid.uuid4()),
            since_at_s=since_at_s,
            until_at_s=self._clock() + self.rules.open_s(trips),
            trips=trips,
            operator=f"worker {self._worker_id}",
            host=socket.gethostname(),
            reason=reason,
        )
        self._stand(opening)
        self._unconfirmed, self._to_write, self._decided_at_s = opening.order_id, opening, self._clock()
        return Change(target=self.target, opening=opening, reason=reason)

    def _close(self, reason: str) -> Change:
        self._stand(None)
        self._unconfirmed, self._to_write = "", Closing(order_id=str(uuid.uuid4()), reason=reason)
        return Change(target=self.target, opening=None, reason=reason)

    def _stand(self, opening: Opening | None) -> None:
        """Let another state hold; runs that have begun before do not count for it."""
        self.opening = opening
        self.changes += 1
        self._probe = self._lease = self._write_again = None
        self._offered_at_s = -math.inf
        self._counts.clear()

    # ---- the control thread

    def turn(self, *, is_wanted: bool) -> bool:
        """Lease the probe, or go on to hold it, where that is due.

        Args:
            is_wanted: whether a job waits for this breaker here.

        Returns:
            Whether a job that waits is to be let go, as the probe.
        """
        now_s = self._clock()
        with self._lock:
            self._note_write_due(now_s)
            opening = self.opening
            if opening is None or opening.until_at_s is None:
                return False
            return self._leases(opening, now_s, is_wanted or now_s - self._asked_at_s < LEASE_AGAIN_S)

    def _leases(self, opening: Opening, now_s: float, is_wanted: bool) -> bool:
        if self._probe is not None and now_s - self._probe_began_at_s > LONGEST_PROBE_S:
            self._probe = None
        if opening.prober == self._worker_id and not (opening.is_over(now_s) and self._probe is None):
            return self._hold_lease(opening, now_s, is_wanted)
        if opening.is_over(now_s) and is_wanted and now_s - self._leased_at_s >= LEASE_AGAIN_S:
            self._lease_anew(opening, now_s)
        return False

    def _lease_anew(self, opening: Opening, now_s: float) -> None:
        """Lease the probe once what stands was written; by itself where this process does not read its own leases."""
        if self._unconfirmed and (self._to_write is opening or now_s - self._decided_at_s < UNREAD_S):
            return
        self._unconfirmed = ""
        if self._lease is None:
            self._leasing_since_at_s = now_s
        self._write_lease(opening, now_s)
        if self._lease is not None and now_s - self._leasing_since_at_s >= UNREAD_S:
            self._adopt_lease(self._lease)

    def _hold_lease(self, opening: Opening, now_s: float, is_wanted: bool) -> bool:
        if self._probe is not None:
            left_s = (opening.until_at_s or 0.0) - now_s
            if left_s < LEASE_S - RENEW_S and now_s - self._leased_at_s >= LEASE_AGAIN_S:
                self._write_lease(opening, now_s)
            return False
        if not is_wanted or now_s - self._offered_at_s < OFFER_S:
            return False
        self._offered_at_s = now_s
        return True

    def _write_lease(self, opening: Opening, now_s: float) -> None:
        self._lease = self._to_write = replace(
            opening,
            order_id=str(uuid.uuid4()),
            until_at_s=now_s + LEASE_S,
            prober=self._worker_id,
            over=opening.order_id,
        )
        self._leased_at_s = now_s

    def _note_write_due(self, now_s: float) -> None:
        if self._write_again is not None and self._to_write is None and now_s >= self._write_again[0]:
            self._to_write, self._write_again = self._write_again[1], None

    def take_write(self) -> Write | None:
        """Take what is to be written, if there is anything."""
        if self._to_write is None:
            return None
        with self._lock:
            write, self._to_write = self._to_write, None
            self._decided_at_s = self._clock()  # a thread that was held up has all the time to read what it has written
            return write

    def note_unwritten(self, write: Write) -> None:
        """Take note that this could not be written: what this process has decided holds here alone."""
        now_s = self._clock()
        with self._lock:
            if isinstance(write, Opening) and self._lease is not None and write.order_id == self._lease.order_id:
                self._adopt_lease(write)
                return
            if isinstance(write, Opening) and write.order_id == self._unconfirmed:
                self._unconfirmed = ""
            is_news = self.opening == (write if isinstance(write, Opening) else None)
            if is_news and self._to_write is None:
                self._write_again = now_s + WRITE_AGAIN_S, write

    # ---- what the topic holds

    def adopt(self, opening: Opening, *, is_new: bool) -> None:
        """Take an order of the topic.

        Args:
            is_new: False where the orders before it may not have been read.
        """
        with self._lock:
            before = self.changes
            self._adopt(opening, is_new=is_new)
            is_changed = before != self.changes
        if is_changed:
            self._on_change(self, None)

    def _adopt(self, opening: Opening, *, is_new: bool) -> None:
        if self._unconfirmed:  # what this process has written stands behind it in the log
            if opening.order_id == self._unconfirmed:
                self._unconfirmed = ""
            return
        current = self.opening
        if current is not None and opening.order_id == current.order_id:
            return
        if opening.is_lease and is_new:
            if current is None:
                if opening.prober == self._worker_id:  # it was too late: the breaker was closed before it
                    self._to_write = Closing(order_id=str(uuid.uuid4()), reason="the breaker was closed before")
            elif current.order_id == opening.over:
                self._adopt_lease(opening)
            return
        self._stand(opening)

    def _adopt_lease(self, lease: Opening) -> None:
        """The first lease over what stands counts; one that renews it leaves its probe alone."""
        current, probe, began_at_s = self.opening, self._probe, self._probe_began_at_s
        if current is not None and current.prober == lease.prober:
            self.opening = lease
            self._lease = None
            return
        self._stand(lease)
        self._probe, self._probe_began_at_s = (probe, began_at_s) if lease.prober == self._worker_id else (None, 0.0)

    def lift(self) -> None:
        """Take note that the topic has no order about it any more."""
        with self._lock:
            if self._unconfirmed or self.opening is None:
                return
            self._stand(None)
        self._on_change(self, None)
