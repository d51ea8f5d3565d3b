"""`WorkerThreads`: the threads of one queue's worker beside its poll thread: those of jobs, and those that prepare."""

from __future__ import annotations

import time
from datetime import timedelta

from ..dispatch.job_threads import JobThreads
from ..followers.late_jobs import LateJobs
from ..followers.readiness import FollowerReadiness
from ..group.rights_watch import RightsWatch
from ..guarded_thread import first_crash
from ..job.run import Run
from ..partitions.restore_thread import Restoring
from ..settling.settle import Settler


class WorkerThreads:
    """Started and stopped by the poll thread, but for `stop_preparing`.

    `jobs` are those that run jobs, `settler` writes their outcomes, and `late` the followers of late jobs. The others
    prepare: `restoring` reads what partitions begin with, `rights` asks for the worker's rights,
    `followers` makes ready to write followers.
    """

    def __init__(
        self,
        jobs: JobThreads,
        settler: Settler,
        late: LateJobs,
        *,
        restoring: Restoring,
        rights: RightsWatch,
        followers: FollowerReadiness,
    ) -> None:
        self._jobs = jobs
        self._settler = settler
        self._late = late
        self._restoring = restoring
        self._rights = rights
        self._followers = followers

    def start(self) -> None:
        """Start them; two begin when they are first needed: that which restores, and that which asks for rights."""
        self._settler.start()
        self._jobs.start()
        self._followers.start()
        self._late.start()

    @property
    def crashed(self) -> BaseException | None:
        """Why one of them has ended; None while all go on."""
        threads = self._settler.thread, self._followers.thread, self._late.thread
        return first_crash((self._jobs, self._restoring, *threads))

    @property
    def stranded(self) -> int:
        """How many outcomes cannot be written until a person fixes something."""
        return self._settler.stranded

    def stop_preparing(self) -> None:
        """Prepare nothing any more; called from any thread."""
        self._restoring.stop()
        self._rights.stop()
        self._followers.stop()

    def stop_restoring(self) -> None:
        """Restore no more partitions."""
        self._restoring.stop()

    def stop_jobs(self, settle_within: timedelta) -> list[Run]:
        """Cut short what still runs, settle what has ended, and write the last followers of late jobs.

        The first is a part of the time for the second.

        Returns:
            The jobs that went on, the stuck ones included: an outcome of theirs comes too late.
        """
        began_at_s, within_s = time.monotonic(), settle_within.total_seconds()
        self._jobs.stop(within_s)
        running = self._jobs.runs
        self._settler.stop(timedelta(seconds=max(0.0, began_at_s + within_s - time.monotonic())))
        self._late.stop()
        return running
