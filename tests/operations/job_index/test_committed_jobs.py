"""`CommittedJobs`: rounds through the open jobs go on, whatever becomes of the topics meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.operations.job_index import committed_jobs
from stoker.operations.job_index.committed_jobs import GIVE_UP_S, Asked, CommittedJobs
from stoker.topology import ClusterSettings, Pipeline
from support.sight.index import PLACE, Index
from support.waiting import wait_until

NOWHERE = ClusterSettings(bootstrap_servers="127.0.0.1:1")


def test_ends_that_are_never_reached_are_asked_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that is made anew begins at 0: no round would ever begin, and jobs without an event stay unfinished."""
    answers = [Asked(committed={}, ends={PLACE: 500}), Asked(committed={}, ends={PLACE: 3})]
    monkeypatch.setattr(committed_jobs, "ask_committed", lambda *_: answers.pop(0))
    index, jobs = Index(tmp_path / "index.sqlite"), CommittedJobs(Pipeline("shop"), NOWHERE)
    index.apply(offset=3)

    def has_gone_through(now_s: float) -> bool:
        jobs.turn(index.writer, now_s)
        return jobs.rounds > 0

    def is_asked() -> bool:
        return not has_gone_through(1.0) and jobs._thread is not None and not jobs._thread.is_alive()

    wait_until(is_asked, 10, "the ends")
    assert not has_gone_through(GIVE_UP_S)
    wait_until(lambda: has_gone_through(GIVE_UP_S + 2.0), 10, "a round by the ends of the new topic")
    assert answers == []
