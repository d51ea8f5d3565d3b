"""The measure `released`: a paused type, and then a paused tenant, whose jobs are one in ten of the log."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final, Literal

from cluster import Site
from figures import Figure, Measure, Sizes, Target, Values, at_least, below
from jobs import PARTITIONS

from pending.after_kill import KEPT_FIGURES, Kept
from pending.jobs import HELD, PLAIN
from pending.publishing import PendingJob
from pending.restart import RESTART_FIGURES, Restart
from pending.scene import IDLE_S, KEYS, WARM_UP, Batch, Scene, open_scene
from stoker.producers.control import Control

HELD_PART: Final = 10
"""One in so many jobs of the log is held."""
TENANT: Final = "held"
LIMIT_S: Final = 300.0
ORDER_WAIT: Final = timedelta(seconds=30)
KILL_RATIO: Final = 0.5

Held = Literal["type", "tenant"]


class _Released:
    """One round of the measure, step by step."""

    def __init__(self, scene: Scene, sizes: Sizes, control: Control) -> None:
        self._scene, self._sizes, self._control = scene, sizes, control
        self._killed_at_s = self._idle_mb = 0.0
        self.values: Values = {}

    def measure_usual(self) -> None:
        """The rate of jobs that nothing holds, and the memory of a worker for which none waits."""
        scene = self._scene
        self.values["usual"] = scene.rate_per_s(lambda: scene.others(self._sizes.jobs), "jobs that nothing holds")
        with scene.memory() as idle:
            idle.wait(IDLE_S)
        self._idle_mb = idle.peak_mb

    def hold_type(self) -> Batch:
        """Let the jobs of a type wait, kill the worker while it runs the others, and start another."""
        scene = self._scene
        self._control.pause(job_type=HELD).wait(ORDER_WAIT)
        log = self._log("type")
        with scene.memory() as held:
            scene.publish(log)
            scene.wait_begun(log.numbers, "jobs beside the paused type", share=KILL_RATIO, limit_s=LIMIT_S)
        restart = Restart.of(scene, log, 1 - 1 / HELD_PART, LIMIT_S)
        self._killed_at_s = restart.killed_at_s
        self.values |= restart.values
        self.values["change"] = max(held.peak_mb, restart.peak_mb) - self._idle_mb
        return log

    def hold_tenant(self) -> Batch:
        """Let the jobs of a tenant wait, and the others run."""
        scene = self._scene
        self._control.pause(tenant=TENANT).wait(ORDER_WAIT)
        log = self._log("tenant")
        scene.publish(log)
        scene.wait_begun(log.numbers, "jobs beside the paused tenant", share=1 - 1 / HELD_PART, limit_s=LIMIT_S)
        return log

    def _log(self, target: Held) -> Batch:
        """The jobs of a log, of which some are held."""

        def job(number: int) -> PendingJob:
            is_held = number % HELD_PART == 0
            return PendingJob(
                number=number,
                key=f"{'held' if is_held else 'customer'}-{number // HELD_PART % KEYS}",
                since_s=self._scene.began_at_s,
                job_type=HELD if is_held and target == "type" else PLAIN,
                tenant=TENANT.encode() if is_held and target == "tenant" else None,
            )

        return self._scene.batch(max(HELD_PART, self._sizes.waiting), job)

    def release(self, log: Batch, target: Held) -> None:
        """Let the held jobs go, and look at how they run."""
        scene, notes = self._scene, self._scene.notes
        held = log.numbers[-log.numbers.start % HELD_PART :: HELD_PART]
        self.values[f"{target}_early"] = sum(notes.begun(range(number, number + 1)) for number in held)
        released_at_s = time.time()
        if target == "type":
            self._control.resume(job_type=HELD)
        else:
            self._control.resume(tenant=TENANT)
        scene.wait_begun(log.numbers, f"jobs once the {target} is released", limit_s=LIMIT_S)
        begun_at_s = [at_s for number in held for at_s in scene.begun_at_s(range(number, number + 1))]
        first_s, last_s = min(begun_at_s, default=released_at_s), max(begun_at_s, default=time.time())
        self.values[f"{target}_first"] = first_s - released_at_s
        self.values[f"{target}_rate"] = len(begun_at_s) / max(1e-3, last_s - first_s)

    def count(self) -> None:
        """Count how often each job began, once nothing begins any more."""
        scene = self._scene
        scene.wait_all_begun()
        first_s = [scene.began_at_s + after_s for after_s in scene.notes.seconds(scene.numbers)]
        self.values |= Kept.of(scene.notes.runs(scene.numbers), first_s, self._killed_at_s).values


def _run(site: Site, sizes: Sizes, _number: int) -> Values:
    capacity = WARM_UP + 3 * max(1_000, sizes.jobs) + 2 * max(HELD_PART, sizes.waiting) + PARTITIONS
    with open_scene(site, sizes.session_s, capacity) as scene, scene.control() as control:
        scene.start_worker()
        scene.warm_up()
        released = _Released(scene, sizes, control)
        released.measure_usual()
        released.release(released.hold_type(), "type")
        released.release(released.hold_tenant(), "tenant")
        released.count()
    return released.values


_ENOUGH: Final[Target] = at_least(10_000)
RELEASED: Final = Measure(
    name="released",
    title=lambda sizes: (
        f"a paused type whose jobs are one in {HELD_PART} of a log of {sizes.waiting:,}, SIGKILL amid the others, a "
        f"restart, and the type's release; then the same with a tenant, without a kill. {KEYS:,} keys are held"
    ),
    figures=(
        Figure(name="usual", label="jobs/s begun, nothing held", unit="/s"),
        Figure(name="type_rate", label="jobs/s begun, the released type", unit="/s", target=_ENOUGH),
        Figure(name="type_first", label="order to the first job of the type, s", unit="s"),
        Figure(name="tenant_rate", label="jobs/s begun, the released tenant", unit="/s", target=_ENOUGH),
        Figure(name="tenant_first", label="order to the first job of the tenant, s", unit="s"),
        Figure(name="change", label="change of resident memory, MB", unit="MB", target=below(100)),
        *RESTART_FIGURES,
        Figure(name="type_early", label="jobs of the type begun before its release", unit="jobs", target=below(1)),
        Figure(name="tenant_early", label="jobs of the tenant begun before its release", unit="jobs", target=below(1)),
        *KEPT_FIGURES,
    ),
    run=_run,
    is_long=True,
)
