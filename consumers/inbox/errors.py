"""The errors of an inbox, beside those of any connection (`databases/errors.py`).

AlreadyDone              no fault: the job's effect is in the database since an earlier run
InboxError
    InboxTableMissing
    InvalidEffectName
    EnteredTwice         one run of a job enters the same inbox again
    ResultRefused        what is to be kept is no JSON, or too large
"""

from __future__ import annotations

from datetime import datetime

from ...databases import DatabaseError
from ...schemas import wire_text


class AlreadyDone(Exception):  # an answer, not an error
    """An earlier run of this job has committed its effect: the block's body does not run.

    A worker takes it as done where the job does not catch it, unless it is of one effect of several.

    Attributes:
        job: the job's name in the inbox.
        effect: the name of what is done; empty where the job has one effect only.
        result: what that run has kept, as JSON gives it back; None if it kept nothing.
        done_at: when that run entered its block; None where the row has gone meanwhile.
    """

    def __init__(self, job: str, effect: str = "", result: object = None, done_at: datetime | None = None) -> None:
        at = "" if done_at is None else f" at {done_at:%Y-%m-%d %H:%M:%S} UTC"
        what = f"effect {effect!r} of job {job}" if effect else f"job {job}"
        hint = "; catch AlreadyDone around the effect and go on with its `result`" if effect else ""
        super().__init__(f"{what} was done{at}, so it does not run again{hint}")
        self.job, self.effect, self.result, self.done_at = job, effect, result, done_at

    def __reduce__(self) -> tuple[type[AlreadyDone], tuple[object, ...]]:
        """Let it pass between processes."""
        return type(self), (self.job, self.effect, self.result, self.done_at)


class InboxError(DatabaseError):
    """Root of what may go wrong with an inbox itself."""


class InboxTableMissing(InboxError):
    """The database has no inbox of that name."""

    def __init__(self, table: str) -> None:
        option = "" if table == "stoker_inbox" else f" --table {table}"
        super().__init__(
            f"the database has no table {table!r}: create it with `stoker inbox create{option} --url …`, "
            f"or put the output of `stoker inbox create{option} --print` into your migrations"
        )
        self.table = table


class InvalidEffectName(InboxError, ValueError):
    """An effect cannot be called so; nothing was written."""

    def __init__(self, job: str, effect: str, longest_bytes: int) -> None:
        super().__init__(
            f"job {wire_text(job)} cannot enter effect {wire_text(effect, 40)!r}: "
            f"an effect's name has at most {longest_bytes} bytes and no NUL; give the effect a shorter name"
        )
        self.job, self.effect, self.longest_bytes = job, effect, longest_bytes


class EnteredTwice(InboxError):
    """A run has committed an inbox and enters it again; a second run of the job would not get that far."""

    def __init__(self, job: str, effect: str) -> None:
        already, entered = (
            (f"effect {effect!r}", "that effect") if effect else ("an inbox block without a name", "a second one")
        )
        super().__init__(
            f"job {job} has committed {already} in this very run and cannot enter {entered}, since a run after a "
            "crash would skip it as done; put all writes into one block, or name them with effect="
        )
        self.job, self.effect = job, effect


class ResultRefused(InboxError, ValueError):
    """The result to be kept is no JSON, or too large; nothing was written."""
