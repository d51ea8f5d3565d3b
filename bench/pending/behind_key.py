"""The measures `waiting` and `strict`: a backlog of one key behind a job that runs, or that waits for its retry."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least, below
from jobs import PARTITIONS

from pending.after_kill import KEPT_FIGURES, Kept
from pending.jobs import BLOCKING, FAILING, TIER
from pending.restart import RESTART_FIGURES, Restart
from pending.scene import BATCHES, IDLE_S, KEYS, WARM_UP, Batch, Scene, open_scene
from stoker.topology.declaration.queue import Ordering

_KEY: Final = "stuck"
_JOB_ID: Final = "in-the-way"
LIMIT_S: Final = 30.0
"""A phase in which the others stand still is cut off after so long."""
RELEASED_LIMIT_S: Final = 900.0
HELD_S: Final = 5.0
SINGLE_PART: Final = 4
"""One in so many of `--jobs` is of a single key in the measure of that, which takes longer for each job."""
KILL_RATIO: Final = 1 / 3
KILL_AFTER_S: Final = 10.0


class _Waiting:
    """One round of the measure, step by step. In strict order, the job in the way waits for its retry."""

    def __init__(self, scene: Scene, sizes: Sizes, ordering: Ordering) -> None:
        self._scene, self._sizes = scene, sizes
        self._is_strict = ordering == "strict"
        self._idle_mb = self._killed_at_s = 0.0
        self._blocking = scene.one_of_key(_KEY, FAILING if self._is_strict else BLOCKING, _JOB_ID)
        self._waiting = scene.of_key(_KEY, sizes.waiting)
        self.values: Values = {}

    def measure_alone(self) -> None:
        """The rates without a backlog: of jobs of many keys, and of jobs of one."""
        scene, single = self._scene, max(1_000, self._sizes.jobs // SINGLE_PART)
        self.values["alone"] = scene.rate_per_s(self._others, "jobs of many keys, without a backlog")
        self.values["single"] = scene.rate_per_s(lambda: scene.of_key("single", single), "jobs of a single key")

    def _others(self) -> Batch:
        return self._scene.others(self._sizes.jobs)

    def measure_beside(self) -> None:
        """The rate of many keys beside the backlog, and what it adds to the worker's memory."""
        scene = self._scene
        with scene.memory() as idle:
            idle.wait(IDLE_S)
        with scene.memory() as loaded:
            self._publish_backlog()
            self.values["beside"] = scene.rate_per_s(self._others, "jobs of many keys, beside the backlog", LIMIT_S)
            loaded.wait(HELD_S)
        self._idle_mb = idle.peak_mb
        self.values["share"] = self.values["beside"] / self.values["alone"]
        self.values["change"] = loaded.peak_mb - idle.peak_mb
        self.values["change_pss"] = loaded.proportional_mb - idle.proportional_mb

    def _publish_backlog(self) -> None:
        scene = self._scene
        scene.publish(self._blocking)
        scene.wait_begun(self._blocking.numbers, "blocking jobs")
        scene.publish(self._waiting)
        last = scene.last_of_partitions()
        scene.publish(last)
        scene.wait_begun(last.numbers, "jobs behind the backlog", limit_s=LIMIT_S)

    def kill(self) -> None:
        """Kill the worker while it runs others, and look at how its successor begins."""
        scene, others = self._scene, self._others()
        scene.publish_frozen(others)
        scene.wait_begun(others.numbers, "jobs of many keys before the kill", share=KILL_RATIO, limit_s=KILL_AFTER_S)
        restart = Restart.of(scene, others, 1.0, LIMIT_S)
        self._killed_at_s = restart.killed_at_s
        self.values |= restart.values
        self.values["restarted_change"] = restart.peak_mb - self._idle_mb

    def release(self) -> None:
        """Let the job in the way end, and look at how the jobs behind it run."""
        scene, released_at_s = self._scene, self._let_go()
        waited_s = scene.wait_begun(self._waiting.numbers, "released jobs", limit_s=RELEASED_LIMIT_S)
        begun_at_s = scene.begun_at_s(self._waiting.numbers)
        self.values["released"] = scene.begun_per_s(self._waiting.numbers, waited_s)
        self.values["released_share"] = self.values["released"] / self.values["single"]
        self.values["released_first"] = min(begun_at_s, default=released_at_s + waited_s) - released_at_s
        self.values["disordered"] = sum(later < earlier for earlier, later in pairwise(begun_at_s))

    def _let_go(self) -> float:
        """Let the job in the way end, and return when: seconds since 1970."""
        if not self._is_strict:
            return self._scene.release()
        with self._scene.control() as control:
            control.reschedule(_JOB_ID, now=True)
        return time.time()

    def count(self) -> None:
        """Count how often each job began, once nothing begins any more."""
        scene = self._scene
        scene.wait_all_begun()
        first_s = [scene.began_at_s + after_s for after_s in scene.notes.seconds(scene.numbers)]
        self.values |= Kept.of(
            scene.notes.runs(scene.numbers), first_s, self._killed_at_s, self._blocking.numbers
        ).values


def _measured(ordering: Ordering) -> Callable[[Site, Sizes, int], Values]:
    def run(site: Site, sizes: Sizes, _number: int) -> Values:
        capacity = WARM_UP + (3 * BATCHES + 1) * max(1_000, sizes.jobs) + 1 + sizes.waiting + 2 * PARTITIONS
        with open_scene(site, sizes.session_s, capacity, ordering) as scene:
            scene.start_worker()
            scene.warm_up()
            waiting = _Waiting(scene, sizes, ordering)
            waiting.measure_alone()
            waiting.measure_beside()
            waiting.kill()
            waiting.release()
            waiting.count()
        return waiting.values

    return run


def _measure(name: str, ordering: Ordering, in_the_way: str) -> Measure:
    return Measure(
        name=name,
        title=lambda sizes: (
            f"{sizes.waiting:,} jobs of one key behind {in_the_way}, and {sizes.jobs:,} no-op jobs of {KEYS:,} other "
            "keys with and without them; then SIGKILL, a restart, and the key's release"
        ),
        figures=_FIGURES,
        run=_measured(ordering),
        is_long=True,
    )


_FIGURES: Final = (
    Figure(name="alone", label="jobs/s begun, many keys, no backlog", unit="/s"),
    Figure(name="beside", label="jobs/s begun, many keys, beside it", unit="/s"),
    Figure(name="share", label="share of the rate without it", unit="ratio", target=at_least(0.8)),
    Figure(name="change", label="change of resident memory, MB", unit="MB", target=below(100)),
    Figure(name="change_pss", label="change of its share of memory (PSS), MB", unit="MB"),
    *RESTART_FIGURES,
    Figure(name="restarted_change", label="restart: change of memory, MB", unit="MB", target=below(100)),
    Figure(name="single", label="jobs/s begun, a single key", unit="/s"),
    Figure(name="released", label="jobs/s begun, the released key", unit="/s"),
    Figure(name="released_share", label="share of the rate of a single key", unit="ratio", target=at_least(0.5)),
    Figure(name="released_first", label="release to the next job of the key, s", unit="s"),
    Figure(name="disordered", label="jobs of the key out of order", unit="jobs", target=below(1)),
    *KEPT_FIGURES,
)
WAITING: Final = _measure("waiting", "key", "a job that does not end")
STRICT: Final = _measure("strict", "strict", f"a job that waits in the tier of {TIER.total_seconds() / 3_600:g} h")
