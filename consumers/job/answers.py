"""The rules by which a handler's value or exception becomes an answer: done, discarded, postponed or failed.

A handler may return a `Retry`, `Discard` or `Snooze` as well as raise it. Anything else that it returns is a plain
value, and the job is done, unless the value is work that is still to be done: that is a failure.

Of an exception group, such as a `TaskGroup` raises, all errors in it count, at any depth:

1. Errors that count as done (ignored ones, `AlreadyDone`) drop out. If nothing is left, the job is done.
2. A permanent error among them makes the job a dead letter: no further attempt can fix that part of it.
3. Else a `Discard` among them discards the job.
4. Else, if all are `Snooze`, the job is snoozed, for the longest of their delays.
5. Else the run has failed, and is tried again after the longest delay of a `Retry` among them, or the policy's own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import types
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, cast

from ...producers import BulkResult, Receipt
from ...topology import RetryPolicy
from ...topology.declaration.retries import ErrorTypes
from ..inbox import AlreadyDone
from ..records.outcomes import Failure
from .endings import LONGEST_WAIT, SNOOZE_HINT, Discard, RateLimited, Retry, Snooze
from .failure import describe_failure, reason_of
from .job_errors import bases_of, is_kind_of, leaves, names_in, type_name

OWN_MODULES: Final = ("stoker.schemas", "stoker.topology", "stoker.producers", "stoker.consumers", "stoker.operations")
PLAIN: Final = frozenset({bool, int, float, str, bytes, list, tuple, dict, set, type(None)})

_LAZY: Final = {
    types.CoroutineType: ("a coroutine", "declare the handler with `async def`, and await it there"),
    types.GeneratorType: ("a generator", "run through it inside of the handler, which must not contain `yield`"),
    types.AsyncGeneratorType: ("an async generator", "run through it inside of the handler with `async for`"),
    map: ("a map", "run through it inside of the handler"),
    filter: ("a filter", "run through it inside of the handler"),
    itertools.starmap: ("a starmap", "run through it inside of the handler"),
    concurrent.futures.Future: ("a future", "wait for its `result()` inside of the handler"),
    asyncio.Future: ("a future or task", "declare the handler with `async def`, and await it there"),
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job is done."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """The job is pointless, now and later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """Run it again after this delay; that costs no attempt.

    Attributes:
        is_limited: whether no other job of its scopes is to begin meanwhile.
    """

    after: timedelta
    is_limited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The run failed. `after` is the delay that the job asked for, if it did."""

    failure: Failure
    is_permanent: bool = False
    after: timedelta | None = None


Answer = Accepted | Discarded | Postponed | Failed
ACCEPTED: Final = Accepted()


def answer_of(error: BaseException, job_type: str, policy: RetryPolicy) -> Answer:
    """Read what an exception asks for, and describe it. Never raises, whatever the error's class does."""
    found = _Found()
    for leaf in leaves(error):
        found.sort(leaf, error, policy)
    if found.is_permanent:
        return Failed(failure=describe_failure(job_type, error), is_permanent=True)
    if found.discards:
        return Discarded(_reason(found, error, job_type))
    if found.has_failed or found.retries:
        after = max((delay for delay in found.retries if delay is not None), default=None)
        return Failed(failure=describe_failure(job_type, error), after=after)
    return Postponed(max(found.snoozes), found.is_limited) if found.snoozes else ACCEPTED


def _reason(found: _Found, error: BaseException, job_type: str) -> str:
    alone = len(found.discards) == 1 and not (found.has_failed or found.retries or found.snoozes)
    return reason_of(found.discards[0]) if alone else describe_failure(job_type, error).message


@dataclass(slots=True)
class _Found:
    """The errors of one run, sorted: the three that a job asks with, and its failures."""

    discards: list[BaseException] = field(default_factory=list)
    snoozes: list[timedelta] = field(default_factory=list)
    retries: list[timedelta | None] = field(default_factory=list)
    has_failed: bool = False
    is_permanent: bool = False
    is_limited: bool = False

    def sort(self, leaf: BaseException, whole: BaseException, policy: RetryPolicy) -> None:
        """Take one error in; `whole` is the group around it, or the error itself."""
        if is_kind_of(leaf, Discard):
            self.discards.append(leaf)
        elif is_kind_of(leaf, Retry):
            self.retries.append(_delay_of(leaf))
        elif is_kind_of(leaf, Snooze) and (delay := _delay_of(leaf)) is not None:
            self.snoozes.append(delay)
            self.is_limited = self.is_limited or is_kind_of(leaf, RateLimited)
        elif not (_is_done_already(leaf) or _is_any(leaf, whole, policy.ignored)):
            self.has_failed = True
            self.is_permanent = self.is_permanent or _is_any(leaf, whole, policy.permanent)


def _is_any(leaf: BaseException, whole: BaseException, kinds: ErrorTypes) -> bool:
    return is_kind_of(leaf, kinds) or is_kind_of(whole, kinds)


def _is_done_already(error: BaseException) -> bool:
    """Whether an inbox has found that the whole job was done."""
    return is_kind_of(error, AlreadyDone) and _attribute(error, "effect") == ""


def _delay_of(asked: BaseException) -> timedelta | None:
    """The delay that a job asks for; a class derived from ours may have put anything there."""
    after = _attribute(asked, "after")
    if not is_kind_of(after, timedelta):
        return None
    return min(max(timedelta.__pos__(cast(timedelta, after)), timedelta(0)), LONGEST_WAIT)


def _attribute(error: BaseException, name: str) -> object:
    try:
        found: object = getattr(error, name)
    except BaseException:  # noqa: BLE001  # the application's own class may raise anything
        return None
    return found


# ---- what a handler returns


def fault_of_returned(value: object) -> BaseException | None:
    """The error that a returned value counts as; None where the job is done."""
    kind = type(value)
    if kind in PLAIN or is_kind_of(value, (Receipt, BulkResult)):
        return None
    if is_kind_of(value, (Retry, Discard, Snooze, AlreadyDone)):
        return cast(BaseException, value)
    if is_kind_of(value, BaseException):
        return _returned_error(cast(BaseException, value))
    if is_kind_of(value, type):
        return _fault_of_class(cast(type, value))
    return _fault_of_lazy(value) or _fault_of_ours(kind, "a")


def _returned_error(error: BaseException) -> TypeError:
    fault = TypeError(
        f"the handler returned an exception, a {type_name(type(error))}, in place of raising it: raise it"
    )
    fault.__cause__ = error
    return fault


def _fault_of_class(returned: type) -> BaseException | None:
    if type.__subclasscheck__(Retry, returned) or type.__subclasscheck__(Discard, returned):
        made: BaseException = returned()
        return made
    name = type_name(returned)
    if type.__subclasscheck__(Snooze, returned):
        return TypeError(f"the handler returned the class {name}, without a delay: {SNOOZE_HINT}")
    if type.__subclasscheck__(BaseException, returned):
        return TypeError(f"the handler returned {name}, the class of an exception: raise it instead")
    return _fault_of_ours(returned, "the class")


def _fault_of_lazy(value: object) -> TypeError | None:
    """Work that is still to be done, and that the worker does not do."""
    for kind, (name, hint) in _LAZY.items():
        if is_kind_of(value, kind):
            if isinstance(value, types.CoroutineType | types.GeneratorType):
                value.close()  # or the interpreter warns of it later, without the job's name
            return TypeError(f"the handler returned {name}, whose work nobody would do: {hint}")
    if any("__await__" in names_in(kind) for kind in bases_of(type(value))):
        return TypeError(f"the handler returned an awaitable, which nobody awaits: {_LAZY[asyncio.Future][1]}")
    return None


def _fault_of_ours(kind: type, article: str) -> TypeError | None:
    """A call that was not enqueued, an outcome that the worker decides, and the like."""
    ours = next((base for base in bases_of(kind) if _is_ours(base)), None)
    if ours is None:
        return None
    return TypeError(
        f"the handler returned {article} {type_name(ours)}, with which nobody would do anything: enqueue a call with a "
        "producer; return or raise Retry, Discard or Snooze to choose how the job ends; or return nothing"
    )


def _is_ours(kind: type) -> bool:
    module, _, _ = type_name(kind).rpartition(".")
    return module.startswith(OWN_MODULES)
