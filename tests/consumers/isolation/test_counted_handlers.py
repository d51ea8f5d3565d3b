"""A child imports what limits count before it is ready: a handler begins soon after its job is counted."""

from __future__ import annotations

import pickle
import sys
from importlib import import_module
from multiprocessing.connection import Pipe
from pathlib import Path
from queue import SimpleQueue

import pytest

from stoker.consumers.isolation.child_cancel import JobCanceller
from stoker.consumers.isolation.child_main import Child
from stoker.consumers.isolation.child_pipe import ChildPipe
from stoker.consumers.isolation.handlers import addresses_of
from stoker.consumers.isolation.messages import Setup

COUNTED_JOBS = """
from datetime import timedelta
from stoker.topology import Pipeline, Rate

SECOND = timedelta(seconds=1)
pipeline = Pipeline("unit")

@pipeline.job(pipeline.queue("q", limits={limits}))
def act() -> None: ...
"""


@pytest.mark.parametrize(("limits", "is_counted"), [("[Rate(9, per=SECOND)]", True), ("[]", False)])
def test_a_child_has_the_handlers_that_limits_count_before_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: str, is_counted: bool
) -> None:
    """The worker counts a job before the child gets it. An import then would have it begin as much later, and too many
    would begin in the window that follows."""
    monkeypatch.syspath_prepend(tmp_path)
    module = f"jobs_counted_{is_counted}".lower()
    (tmp_path / f"{module}.py").write_text(COUNTED_JOBS.format(limits=limits))
    addresses = addresses_of(import_module(module).pipeline.job_types)
    monkeypatch.delitem(sys.modules, module)
    pipe, other = Pipe()
    setup = Setup(
        parent_id=1, main={}, queue="q", addresses=pickle.dumps(tuple(addresses.values())), log_levels={}, stack_file=-1
    )
    to_worker = ChildPipe(pipe)
    Child(setup, to_worker, SimpleQueue(), JobCanceller(to_worker))
    assert (module in sys.modules) == is_counted
    pipe.close()
    other.close()
