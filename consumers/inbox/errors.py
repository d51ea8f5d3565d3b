"""What may go wrong with an inbox itself, beside what may go wrong with any connection (`databases/errors.py`).

AlreadyDone              no fault: the job's effect is in the database since an earlier run
InboxError
    InboxTableMissing
    InvalidStepName
    EnteredTwice         one run of a job enters the same inbox again
    ResultRefused        what is to be kept is no JSON, or too large
"""

from __future__ import annotations

from datetime import datetime

from ...databases import DatabaseError
from ...schemas import wire_text


class AlreadyDone(Exception):  # an answer, not an error
    """An earlier run of this job has committed its effect: the block's body does not run.

    A worker takes it as done where the job does not catch it, unless it is about a step only.

    Attributes:
        job: the job's name in the inbox.
        step: the step that is done; empty where it is the whole job.
        result: what that run has kept, as JSON gives it back; None if it kept nothing.
        done_at: when that run entered its block; None where the row has gone meanwhile.
    """

    def __init__(self, job: str, step: str = "", result: object = None, done_at: datetime | None = None) -> None:
        at = "" if done_at is None else f" at {done_at:%Y-%m-%d %H:%M:%S} UTC"
        what = f"step {step!r} of job {job}" if step else f"job {job}"
        hint = "; catch AlreadyDone around the step and go on with its `result`" if step else ""
        super().__init__(f"{what} was done{at}, so it does not run again{hint}")
        self.job, self.step, self.result, self.done_at = job, step, result, done_at

    def __reduce__(self) -> tuple[type[AlreadyDone], tuple[object, ...]]:
        """Let it pass between processes."""
        return type(self), (self.job, self.step, self.result, self.done_at)


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


class InvalidStepName(InboxError, ValueError):
    """A step cannot be called so; nothing was written."""

    def __init__(self, job: str, step: str, longest_bytes: int) -> None:
        super().__init__(
            f"job {wire_text(job)} cannot enter step {wire_text(step, 40)!r}: "
            f"a step's name has at most {longest_bytes} bytes and no NUL; give the step a shorter name"
        )
        self.job, self.step, self.longest_bytes = job, step, longest_bytes


class EnteredTwice(InboxError):
    """A run has committed an inbox and enters it again; a second run of the job would not get that far."""

    def __init__(self, job: str, step: str) -> None:
        already, entered = (
            (f"step {step!r}", "that step") if step else ("an inbox block without a step", "a second one")
        )
        super().__init__(
            f"job {job} has committed {already} in this very run and cannot enter {entered}, since a run after a "
            "crash would skip it as done; put all writes into one block, or name the blocks with step="
        )
        self.job, self.step = job, step


class ResultRefused(InboxError, ValueError):
    """What is to be kept is no JSON, or too large; nothing was written."""
