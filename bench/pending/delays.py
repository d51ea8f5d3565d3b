"""The measure `delay`: jobs that wait for their due times, and many that are due at once."""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Sequence
from typing import Final

from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least, below, percentile
from resident import ResidentPeak

from pending.after_kill import KEPT_FIGURES, Kept
from pending.publishing import PendingJob
from pending.scene import BATCHES, IDLE_S, KEYS, WARM_UP, Batch, Scene, open_scene

BURST_PART: Final = 10
"""So many times fewer jobs are due at the same moment."""
LEAD_S: Final = 5.0
LEAD_RATIO: Final = 1 / 6
"""At this share of the usual rate jobs are published and put aside before the first is due, `LEAD_S` later."""
KILL_RATIO: Final = 0.5
"""The worker is killed when this share of the jobs was due."""
KNOWN_S: Final = 30.0
"""So long after the assignment a new worker keeps time again; how late jobs begin before is not judged."""
NEAR_KILL_S: Final = 1.0
LATE_S: Final = 1.0


class PublishedTooLate(Exception):
    """The first delayed jobs were due before all were published, so that how late they began is not the worker's."""

    def __init__(self, late_s: float) -> None:
        super().__init__(f"the last delayed job was published {late_s:.1f} s after the first was due; ask for fewer")


class _Delay:
    """One round of the measure, step by step."""

    def __init__(self, scene: Scene, sizes: Sizes) -> None:
        self._scene, self._sizes = scene, sizes
        self._burst_size = max(1_000, sizes.delayed // BURST_PART)
        self._idle_mb = self._idle_pss_mb = self._killed_at_s = self._assigned_at_s = 0.0
        self.values: Values = {}

    def measure_usual(self) -> None:
        """The rate of jobs without a due time, and the memory of a worker for which none waits."""
        scene = self._scene
        self.values["usual"] = scene.rate_per_s(lambda: scene.others(self._burst_size), "jobs without a due time")
        with scene.memory() as idle:
            idle.wait(IDLE_S)
        self._idle_mb, self._idle_pss_mb = idle.peak_mb, idle.proportional_mb

    def measure_spread(self) -> None:
        """Publish jobs due at random moments, kill the worker in the middle, and look at when each began."""
        scene, over_s, count = self._scene, self._sizes.over_s, self._sizes.delayed
        opens_at_s, draw = self._lead_ends_at_s(count), random.Random(count)
        due_at_s = array("d", (opens_at_s + over_s * draw.random() for _ in range(count)))
        batch = _delayed(scene, due_at_s)
        with scene.memory() as before:
            self._publish(batch, opens_at_s)
            scene.wait_until(opens_at_s + KILL_RATIO * over_s, batch.numbers, "delayed jobs")
        self._killed_at_s = scene.kill()
        self._assigned_at_s = scene.start_worker()
        with scene.memory() as after:
            scene.wait_until(opens_at_s + over_s, batch.numbers, "delayed jobs")
            scene.wait_begun(batch.numbers, "delayed jobs")
        self._note_memory(before, after)
        self._note_lateness(due_at_s, batch)
        self._count(due_at_s, batch)

    def _lead_ends_at_s(self, count: int) -> float:
        return time.time() + LEAD_S + count / (LEAD_RATIO * self.values["usual"])

    def _publish(self, batch: Batch, first_due_s: float) -> None:
        self._scene.publish(batch)
        left_s = first_due_s - time.time()
        if left_s < 0:
            raise PublishedTooLate(-left_s)
        self._scene.print_progress(
            f"{len(batch.numbers):,} delayed jobs are published; the first are due in {left_s:.1f} s"
        )

    def _note_memory(self, before: ResidentPeak, after: ResidentPeak) -> None:
        self.values["change"] = max(before.peak_mb, after.peak_mb) - self._idle_mb
        self.values["change_pss"] = max(before.proportional_mb, after.proportional_mb) - self._idle_pss_mb

    def _note_lateness(self, due_at_s: Sequence[float], batch: Batch) -> None:
        notes, numbers = self._scene.notes, batch.numbers
        noted = zip(due_at_s, notes.seconds(numbers), notes.runs(numbers), strict=True)
        late = [(due_s, late_s) for due_s, late_s, runs in noted if runs]
        known_at_s = self._assigned_at_s + KNOWN_S
        steady_s = [late_s for due_s, late_s in late if due_s < self._killed_at_s - NEAR_KILL_S or due_s > known_at_s]
        begun_s = [due_s + late_s - self._assigned_at_s for due_s, late_s in late if due_s + late_s > self._killed_at_s]
        behind_s = [due_s + late_s for due_s, late_s in late if late_s > LATE_S and due_s < known_at_s]
        self.values |= {
            "earliest": min(late_s for _, late_s in late) * 1e3,
            "late_p50": percentile(steady_s, 0.50) * 1e3,
            "late_p99": percentile(steady_s, 0.99) * 1e3,
            "late_max": max(steady_s) * 1e3,
            "first": min(begun_s),
            "known": max(0.0, max(behind_s, default=0.0) - self._assigned_at_s),
        }

    def _count(self, due_at_s: Sequence[float], batch: Batch) -> None:
        notes, numbers = self._scene.notes, batch.numbers
        begun_at_s = [due_s + late_s for due_s, late_s in zip(due_at_s, notes.seconds(numbers), strict=True)]
        self.values |= Kept.of(notes.runs(numbers), begun_at_s, self._killed_at_s).values

    def measure_burst(self) -> None:
        """Jobs that are all due at one moment: how many of them begin in a second."""
        scene, count = self._scene, self._burst_size
        due_s = self._lead_ends_at_s(count)
        batch = _delayed(scene, [due_s] * count)
        self._publish(batch, due_s)
        scene.wait_until(due_s, batch.numbers, "jobs of one due time")
        waited_s = scene.wait_begun(batch.numbers, "jobs of one due time")
        late_s = scene.notes.seconds(batch.numbers)
        begun = scene.notes.begun(batch.numbers)
        self.values["burst"] = begun / (max(late_s) if begun == count else waited_s)
        self.values["burst_share"] = self.values["burst"] / self.values["usual"]
        self.values["burst_earliest"] = min(late_s) * 1e3
        self.values["lost"] += count - begun


def _delayed(scene: Scene, due_at_s: Sequence[float]) -> Batch:
    first = len(scene.numbers)
    return scene.batch(
        len(due_at_s),
        lambda number: PendingJob(
            number=number, key=f"customer-{number % KEYS}", since_s=due_at_s[number - first], is_delayed=True
        ),
    )


def _run(site: Site, sizes: Sizes, _number: int) -> Values:
    capacity = WARM_UP + sizes.delayed + (BATCHES + 1) * max(1_000, sizes.delayed // BURST_PART)
    with open_scene(site, sizes.session_s, capacity) as scene:
        scene.start_worker()
        scene.warm_up()
        delay = _Delay(scene, sizes)
        delay.measure_usual()
        delay.measure_spread()
        delay.measure_burst()
    return delay.values


DELAY: Final = Measure(
    name="delay",
    title=lambda sizes: (
        f"{sizes.delayed:,} jobs due at random within {sizes.over_s:g} s, the worker killed in the middle; then "
        f"{max(1_000, sizes.delayed // BURST_PART):,} due at one moment"
    ),
    figures=(
        Figure(name="earliest", label="earliest, ms", unit="ms", target=at_least(0, "worst")),
        Figure(name="late_p50", label="late by, p50, ms", unit="ms"),
        Figure(name="late_p99", label="late by, p99, ms", unit="ms", target=below(1_000)),
        Figure(name="late_max", label="late by, max, ms", unit="ms"),
        Figure(name="change", label="change of resident memory, MB", unit="MB", target=below(100)),
        Figure(name="change_pss", label="change of its share of memory (PSS), MB", unit="MB"),
        Figure(name="first", label="restart: assignment to the first job, s", unit="s", target=below(5)),
        Figure(name="known", label="restart: assignment to none late by 1 s, s", unit="s", target=below(30)),
        Figure(name="usual", label="jobs/s begun, no due time", unit="/s"),
        Figure(name="burst", label="jobs/s begun, one due time", unit="/s"),
        Figure(name="burst_share", label="share of the rate without due times", unit="ratio", target=at_least(0.5)),
        Figure(name="burst_earliest", label="earliest of one due time, ms", unit="ms", target=at_least(0, "worst")),
        *KEPT_FIGURES,
    ),
    run=_run,
    is_long=True,
)
