"""`Unique`: of several jobs that do the same, one runs. What "the same" is, for how long, and which of them it is.

The identity of a job is a text that its producer makes of the arguments and writes into the header `stoker-unique`. It
is the record's key as well, where the job has none: so all jobs of an identity meet in one partition, whose owner
decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from hashlib import blake2b
from typing import Final, Literal, get_args

from ...schemas import Contract
from ..durations import format_duration
from .labels import Arguments, LabelDeclaration, LabelFunction, LabelNotFound, LabelPath, label_faults, made_label
from .queue import Queue

While = Literal["waiting", "running"]
OnConflict = Literal["drop", "replace", "put_off"]

LONGEST_IDENTITY: Final = 200
"""Characters that an identity shows of its arguments; a longer one has their digest."""
DIGEST_BYTES: Final = 16
_NONE: Final = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Unique:
    """How the jobs of a type are unique.

    Attributes:
        by: which arguments make the identity: the path of one (`"customer_id"`, `"order.customer_id"`), several of
            them, or a function of those that it names, which returns text. None: all arguments. A function that
            returns None leaves its call out: that job is not unique.
        within: a job that comes within so long of the arrival of the last one that ran ends as a duplicate.
        while_: in which states the earlier job conflicts with a new one: `"waiting"` for its key, its time or its
            retry, `"running"`. None: both, but with `on_conflict="put_off"` waiting alone.
        on_conflict: "drop": the new job ends as a duplicate. "replace": a waiting job ends as a duplicate of the new
            one, which takes its due time unless it has its own. "put_off": the same, and the new one is due `wait`
            after it came.
        wait: of "put_off": how long each new job puts the work off.
        longest: of "put_off": after so long it is put off no more, counted from the first job that was.
    """

    by: LabelDeclaration | tuple[str, ...] | None = None
    within: timedelta | None = None
    while_: tuple[While, ...] | None = None
    on_conflict: OnConflict = "drop"
    wait: timedelta | None = None
    longest: timedelta | None = None

    @cached_property
    def states(self) -> frozenset[While]:
        """In which states of the earlier job a new one conflicts with it."""
        if self.while_ is not None:
            return frozenset(self.while_)
        return frozenset({"waiting"} if self.on_conflict == "put_off" else {"waiting", "running"})

    @property
    def replaces(self) -> bool:
        """Whether a new job takes the place of a waiting one."""
        return self.on_conflict != "drop"

    @cached_property
    def within_ms(self) -> int:
        """`within` in milliseconds; 0 where there is none."""
        return 0 if self.within is None else _milliseconds(self.within)

    @cached_property
    def wait_ms(self) -> int:
        """`wait` in milliseconds; 0 where there is none."""
        return 0 if self.wait is None else _milliseconds(self.wait)

    @cached_property
    def longest_ms(self) -> int | None:
        """`longest` in milliseconds."""
        return None if self.longest is None else _milliseconds(self.longest)

    def faults(self, contract: Contract, queue: Queue) -> list[str]:
        """List what is wrong with the declaration; empty when all is well."""
        found = [*self._by_faults(contract), *self._mode_faults(), *self._time_faults(queue)]
        if queue.ordering == "none":
            found.append(
                f"unique needs the order of keys, and queue {queue.name!r} has ordering='none'; declare the job type "
                "in a queue with ordering='key' or 'strict'"
            )
        return found

    def _by_faults(self, contract: Contract) -> list[str]:
        if isinstance(self.by, tuple):
            found = [] if self.by else ["unique by=() names no argument; leave `by` out for all of them"]
            return found + [fault for path in self.by for fault in label_faults("unique", path, contract)]
        return label_faults("unique", self.by, contract)

    def _mode_faults(self) -> list[str]:
        found = []
        unknown = sorted(set(self.while_ or ()) - set(get_args(While)))
        if unknown:
            found.append(f"unique while_ may have {' and '.join(get_args(While))}; it has {', '.join(unknown)}")
        if self.on_conflict not in get_args(OnConflict):
            known = ", ".join(get_args(OnConflict))
            found.append(f"unique on_conflict must be one of {known}; it is {self.on_conflict!r}")
        elif self.replaces and "waiting" not in self.states:
            found.append(f"unique on_conflict={self.on_conflict!r} is about waiting jobs: while_ must have 'waiting'")
        elif self.states == {"running"}:
            found.append("unique while_ must have 'waiting' beside 'running': a job that is to run next waits, too")
        if not self.states and self.within is None:
            found.append("unique while_=() makes nothing unique without `within`")
        return found

    def _time_faults(self, queue: Queue) -> list[str]:
        found = []
        if self.within is not None and not _NONE < self.within <= queue.ledger.age:
            found.append(
                f"unique within must be above zero and at most what the queue's ledger remembers, {queue.ledger.age}; "
                f"it is {self.within}. Give the queue a longer ledger=LedgerWindow(age=…)"
            )
        if (self.wait is not None) != (self.on_conflict == "put_off"):
            found.append("unique wait and on_conflict='put_off' go together")
        if self.wait is not None and self.wait <= _NONE:
            found.append(f"unique wait must be above zero; it is {self.wait}")
        if self.longest is not None and (self.wait is None or self.longest < self.wait):
            found.append("unique longest goes with wait, and must not be below it")
        return found

    def __str__(self) -> str:
        """The declaration in words, as the catalogue shows it."""
        words = [f"by {_by_in_words(self.by)}"]
        if self.on_conflict != "put_off":
            words.append(f"{self.on_conflict} on conflict")
        if self.states:
            words.append(f"while {' or '.join(state for state in get_args(While) if state in self.states)}")
        if self.within is not None:
            words.append(f"within {format_duration(self.within)}")
        if self.wait is not None:
            longest = "" if self.longest is None else f", {format_duration(self.longest)} at the most"
            words.append(f"put off by {format_duration(self.wait)}{longest}")
        return ", ".join(words)


class UniqueIdentity:
    """Makes the identities of the calls of one job type."""

    def __init__(self, name: str, unique: Unique, contract: Contract) -> None:
        self._name, self._contract = name, contract
        by = unique.by
        paths = by if isinstance(by, tuple) else () if by is None else (by,)
        self._parts: list[LabelFunction | LabelPath] = [made_label("unique", path, contract) for path in paths]
        self._is_function = callable(by)

    def of(self, args: Arguments, kwargs: Mapping[str, object], body: bytes, tenant: bytes | None) -> str | None:
        """The identity of a call; None where the call is not unique.

        Args:
            body: its encoded payload.
            tenant: its tenant, where the queue routes by that.

        Raises:
            LabelNotFound: an argument is none of which an identity can be made.
        """
        if not self._parts:
            return self._named(_digest(body), tenant)
        text = self._text([part.of(args, kwargs) for part in self._parts])
        if text is None:
            return None
        is_readable = len(text) <= LONGEST_IDENTITY and text.isprintable() and not text.startswith(DIGEST_MARK)
        return self._named(text if is_readable else _digest(text.encode("utf-8", "surrogatepass")), tenant)

    def _text(self, values: list[str | None]) -> str | None:
        odd = next((value for value in values if not isinstance(value, str | None)), None)
        if odd is not None:
            raise LabelNotFound("unique", f"must be text or None, not {type(odd).__name__}")
        if len(values) == 1 and (values[0] is not None or self._is_function):
            return values[0]
        return json.dumps(values, ensure_ascii=False)

    def _named(self, value: str, tenant: bytes | None) -> str:
        """The job type is part of it, and so is the tenant where that chooses the partition."""
        of_tenant = "" if tenant is None else f"@{_digest(tenant)}"
        return f"{self._name}{of_tenant}:{value}"


DIGEST_MARK: Final = "~"


def _digest(value: bytes) -> str:
    return DIGEST_MARK + blake2b(value, digest_size=DIGEST_BYTES).hexdigest()


def _milliseconds(length: timedelta) -> int:
    return round(length.total_seconds() * 1_000)


def _by_in_words(by: LabelDeclaration | tuple[str, ...] | None) -> str:
    if by is None:
        return "all arguments"
    if isinstance(by, str):
        return by
    if isinstance(by, tuple):
        return " and ".join(by)
    name = getattr(by, "__name__", "")
    return name if name.isidentifier() else "a function"
