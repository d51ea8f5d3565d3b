"""A worker that loses a right says so, waits, and goes on by itself when it has it back; nothing is lost."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from stoker.producers import Producer
from stoker.topology.planning.rights import Duty
from support.kafka.duties import PRINCIPAL, USER, Scene, acls, make_scene
from support.kafka.guarded_broker import Guarded
from support.scenes.worker import running_worker
from support.waiting import wait_until

REVOKED = (
    ("Read", "group {namespace}.work"),
    ("Read", "topic {namespace}.work"),
    ("Read", "topic {namespace}.work.retry.*"),
    ("Write", "topic {namespace}.work.retry.*"),
    ("Write", "topic {namespace}.work.ledger"),
    ("Write", "topic {namespace}.work.dead"),
)


@pytest.mark.expected_errors("lost a right", "cannot be written", "authorization failed", "cannot be read")
@pytest.mark.parametrize(
    ("protocol", "operation", "where"),
    [*(("consumer", *right) for right in REVOKED), *(("classic", *right) for right in REVOKED[:2])],
)
def test_a_worker_outlives_the_loss_of_a_right(  # noqa: PLR0917  # fixtures and parameters
    guarded: Guarded,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    protocol: str,
    operation: str,
    where: str,
) -> None:
    """The loss is an error in the log that names the right, once; when it is back, all jobs are done."""
    scene = make_scene(guarded, namespace, tmp_path, monkeypatch)
    rights = scene.rights(Duty.WORKER)
    wanted = operation, where.format(namespace=namespace)
    lost = [right for right in rights if (right.operation, right.where) == wanted]
    assert lost
    cluster = guarded.user(USER, **{"group.protocol": protocol})
    with guarded.granted(PRINCIPAL, acls(rights)), running_worker(scene.pipeline, cluster) as running:
        running.wait_outcomes(Done=1)
        guarded.revoke(PRINCIPAL, acls(lost))
        _enqueue(scene, "fail", "fine")
        said = f"{operation} on {lost[0].resource} {lost[0].name}"
        wait_until(lambda: _losses(caplog, said), 40, f"the loss of {said}")
        lame = running.worker.snapshot()[0]
        assert not lame.is_ready
        assert said in lame.lost_right
        assert said in running.worker.inspect()[0].lost_right
        guarded.grant(PRINCIPAL, acls(lost))
        wait_until(lambda: "has its rights back" in caplog.text, 40, "the rights to be back")
        _enqueue(scene, "fine")
        running.wait_outcomes(Done=3, Dead=1, within_s=40)
        assert running.worker.snapshot()[0].is_ready
        assert len(_losses(caplog, said)) == 1


def _enqueue(scene: Scene, *whats: str) -> None:
    with Producer(scene.pipeline, scene.guarded.administrator) as producer:
        for what in whats:
            producer.send(scene.pipeline.job_types["do"].call(what))


def _losses(caplog: pytest.LogCaptureFixture, said: str) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    return [line for line in lines if "lost a right" in line and said in line and PRINCIPAL in line]
