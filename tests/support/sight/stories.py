"""Workers with followers that are killed amid their writing, and what the followers are told in the end."""

from __future__ import annotations

import subprocess
from pathlib import Path

from stoker.topology import ClusterSettings, Pipeline
from support.program import TESTS, program
from support.scenes.worker import DEADLINE_S, wait_all_committed
from support.waiting import wait_until


def told_through_a_kill(cluster: ClusterSettings, pipeline: Pipeline, stories: Path, place: str) -> list[str]:
    """The lines of the stories that were told, after a worker has killed itself at a place and another one went on."""
    stories.touch()

    def start(where: str) -> subprocess.Popen[bytes]:
        command = [*program("storied_worker"), cluster.bootstrap_servers, pipeline.namespace, str(stories), where]
        return subprocess.Popen(command, cwd=TESTS, stderr=subprocess.DEVNULL)

    assert start(place).wait(DEADLINE_S) == -9
    assert stories.read_text() == ""
    process = start("never")
    try:
        wait_until(stories.read_text, DEADLINE_S, "the story")
        for name in ("work", "oncall"):
            wait_all_committed(cluster, pipeline.find_queue(name))
    finally:
        process.kill()
        process.wait(10)
    return stories.read_text().splitlines()
