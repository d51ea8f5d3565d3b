"""Workers fire schedules with the rights that are documented for it; without them, jobs go on and the log says why."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.producers.schedules import Schedules
from stoker.topology import every
from stoker.topology.planning.rights import Duty, Resource
from support.kafka.duties import PRINCIPAL, acls, make_scene
from support.kafka.guarded_broker import Guarded
from support.scenes.worker import running_worker
from support.waiting import wait_until


@pytest.mark.expected_errors("uthorization failed", "Kafka forbids")
@pytest.mark.parametrize("may_fire", [True, False])
def test_a_worker_fires_with_the_rights_for_it(
    guarded: Guarded,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    may_fire: bool,
) -> None:
    """They are those that `topology rights` prints for an application that declares schedules."""
    scene = make_scene(guarded, namespace, tmp_path, monkeypatch)
    job_type = scene.pipeline.job_types["do"]
    scene.pipeline.schedule("often", every(timedelta(seconds=1)), job_type.call("something"))
    with Schedules(scene.pipeline, guarded.administrator) as schedules:
        schedules.apply_declared()
        rights = scene.rights(Duty.WORKER)
        if not may_fire:
            rights = [right for right in rights if right.resource is not Resource.TRANSACTIONAL_ID]
        with (
            guarded.granted(PRINCIPAL, acls(rights)),
            caplog.at_level(logging.INFO, "stoker.schedules"),
            running_worker(scene.pipeline, scene.cluster) as running,
        ):
            if may_fire:
                wait_until(lambda: schedules.show("often").last is not None, 60)
            else:
                wait_until(lambda: f"transactional-id {namespace}.work.schedules" in caplog.text, 60)
                wait_until(lambda: running.outcomes().get("Done"), 60)
                assert schedules.show("often").last is None
