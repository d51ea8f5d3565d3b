"""The work of each part of Stoker on a cluster that asks for rights: small, but so that it needs all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer as PlainProducer

from stoker.operations.application import load_pipeline
from stoker.operations.cli import main
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline, Queue
from stoker.topology.cluster.admin import Administration
from stoker.topology.planning.apply import apply, ensure_topology
from stoker.topology.planning.plan import plan
from stoker.topology.planning.rights import Duty, Right, rights_for
from stoker.topology.wire import headers as wire
from support.kafka.configs import change_configs
from support.kafka.guarded_broker import Acl, Guarded, credentials, tester_of_process
from support.scenes.worker import RunningWorker, running_worker
from support.waiting import wait_until

USER: Final = tester_of_process()
PRINCIPAL: Final = f"User:{USER}"
QUEUE: Final = "work"

SOURCE: Final = '''
from datetime import timedelta

from stoker.topology import Pipeline, RetryPolicy

pipeline = Pipeline("{namespace}")
work = pipeline.queue("work", partitions=2, tiers=(timedelta(milliseconds=100),), session_timeout=timedelta(seconds=6))

@pipeline.job(work, retry=RetryPolicy(attempts=2))
def do(what: str) -> None:
    """Do a piece of work, or fail."""
    if what == "fail":
        raise ValueError(what)
'''


@dataclass(frozen=True)
class Scene:
    """An application whose topics are on the guarded broker, and a user of it without any rights."""

    guarded: Guarded
    pipeline: Pipeline
    application: str

    @property
    def queue(self) -> Queue:
        """Its one queue."""
        return self.pipeline.queues[QUEUE]

    @property
    def cluster(self) -> ClusterSettings:
        """The cluster as the user reaches it."""
        return self.guarded.user(USER)

    def rights(self, duty: Duty) -> list[Right]:
        """What the table grants a part of Stoker here."""
        return rights_for(duty, self.pipeline)

    def stoker(self, *arguments: str) -> str:
        """Call the command line as the user; what it says.

        Raises:
            Refused: it did not end well.
        """
        options = [f"--option={name}={value}" for name, value in credentials(USER, "PLAIN", "SASL_PLAINTEXT").items()]
        root = ["-A", self.application, "--bootstrap-servers", self.guarded.sasl, *options]
        done = CliRunner().invoke(main, [*root, *arguments])
        if done.exit_code or (done.exception is not None and not isinstance(done.exception, SystemExit)):
            raise Refused(done.output + (f"\n{done.exception!r}" if done.exception else ""), done.exit_code)
        return done.output


class Refused(Exception):
    """A command did not end well; it has what the user saw."""

    def __init__(self, output: str, exit_code: int) -> None:
        super().__init__(output)
        self.exit_code = exit_code


def make_scene(guarded: Guarded, namespace: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Write the application, and put it on the broker, with a job that waits and two dead letters."""
    scene = write_application(guarded, namespace, folder, monkeypatch)
    ensure_topology(scene.pipeline, guarded.administrator)
    with Producer(scene.pipeline, guarded.administrator) as producer:
        producer.send(scene.pipeline.job_types["do"].call("waits"))
    _add_dead(scene, 2)
    return scene


def make_drifted_scene(guarded: Guarded, namespace: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The same application on topics that drifted: one missing, one set otherwise, all too narrow, one too many."""
    scene = write_application(guarded, namespace, folder, monkeypatch)
    pipeline = Pipeline(namespace)
    pipeline.queue(QUEUE, partitions=1, tiers=(timedelta(milliseconds=100), timedelta(minutes=9)))
    apply(plan(pipeline, guarded.administrator), guarded.administrator)
    administration = Administration(guarded.administrator)
    change_configs(guarded.administrator, {scene.queue.dead_topic: {"retention.ms": "1000"}})
    administration.delete([scene.queue.progress_topic])
    wait_until(lambda: not administration.topics([scene.queue.progress_topic]), what="the topic to be gone")
    return scene


def write_application(guarded: Guarded, namespace: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    module = f"access_{namespace}"
    (folder / f"{module}.py").write_text(SOURCE.format(namespace=namespace))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return Scene(guarded, load_pipeline(f"{module}:pipeline"), f"{module}:pipeline")


def _add_dead(scene: Scene, count: int) -> None:
    """Put dead letters on their topic, by the wire contract alone."""
    contract = scene.pipeline.job_types["do"].contract
    payload = contract.header + contract.encode({"what": "died"})
    producer = PlainProducer(scene.guarded.administrator.client_config())
    for number in range(count):
        headers: list[tuple[str, str | bytes | None]] = [
            (wire.JOB_ID, f"job-{number}".encode()),
            (wire.JOB_TYPE, b"do"),
        ]
        producer.produce(scene.queue.dead_topic, payload, b"key", 0, headers=headers)
    assert producer.flush(10) == 0


def _produce(scene: Scene) -> None:
    scene.stoker("enqueue", "do", "what=something")


def _work(scene: Scene) -> None:
    with Producer(scene.pipeline, scene.guarded.administrator) as producer:
        producer.send(scene.pipeline.job_types["do"].call("fail"))
    with running_worker(scene.pipeline, scene.cluster) as running:
        wait_until(lambda: running.failure or _has_worked(running), 60, "the worker to work, or to fail")


def _has_worked(running: RunningWorker) -> bool:
    return all(running.outcomes().get(outcome) for outcome in ("Done", "Retried", "Dead"))


def _look_at_queues(scene: Scene) -> None:
    shown = scene.stoker("queues", "--sample", "0s")
    assert "  main" in shown, shown


def _look_at_dead_letters(scene: Scene) -> None:
    assert "2 open dead letters" in scene.stoker("dead", "list")
    assert "died" in scene.stoker("dead", "show", QUEUE, "0/0")


def _replay_dead_letters(scene: Scene) -> None:
    scene.stoker("dead", "replay", QUEUE, "0/0", "--set", 'what="lives"', "--yes")


def _discard_dead_letters(scene: Scene) -> None:
    scene.stoker("dead", "discard", QUEUE, "--reason", "tests", "--yes")


def _replay(scene: Scene) -> None:
    assert "1 job published again" in scene.stoker("replay", QUEUE, "--from-offset", "0", "--to-offset", "1", "--yes")


def _examine(scene: Scene) -> None:
    """Nothing is wrong but that the job waits, and so one exit code is as good as the other."""
    try:
        shown = scene.stoker("doctor")
    except Refused as found:
        shown = str(found)
        if "may not" in shown:
            raise
    assert "session timeout" in shown or "killed worker" in shown, shown


def _order(scene: Scene) -> None:
    scene.stoker("control", "pause", "--queue", QUEUE, "--wait")
    assert f"pause queue {QUEUE}" in scene.stoker("control", "list")
    assert f"pause queue {QUEUE}" in scene.stoker("control", "log")


def _look_at_workers(scene: Scene) -> None:
    assert "no worker" in scene.stoker("workers")


def _look_at_breakers(scene: Scene) -> None:
    assert "declares no breaker" in scene.stoker("breakers")


def _look_at_schedules(scene: Scene) -> None:
    assert "has no schedules" in scene.stoker("schedules", "list")


def _look_at_the_trail(scene: Scene) -> None:
    assert "topology-applied" in scene.stoker("audit-log")


def _change_schedules(scene: Scene) -> None:
    scene.stoker("schedules", "add", "often", "do", "what=something", "--every", "1h")
    assert "often@" in scene.stoker("schedules", "trigger", "often")


def _keep_statistics(scene: Scene) -> None:
    assert "0 events behind" in scene.stoker("statistics", "run", "--once")


def _look_at_statistics(scene: Scene) -> None:
    try:
        scene.stoker("statistics", "show")
    except Refused as none:
        if "there are no statistics" not in str(none):
            raise


def _check_schemas(scene: Scene) -> None:
    scene.stoker("schemas", "export")
    scene.stoker("schemas", "check")


def _plan(scene: Scene) -> None:
    scene.stoker("topology", "plan", "--allow-repartition", QUEUE)


def _apply(scene: Scene) -> None:
    scene.stoker("topology", "apply", "--allow-repartition", QUEUE, "--delete-empty-tiers")


WORK: Final[Mapping[Duty, Callable[[Scene], None]]] = {
    Duty.PRODUCER: _produce,
    Duty.WORKER: _work,
    Duty.QUEUES: _look_at_queues,
    Duty.DEAD_LIST: _look_at_dead_letters,
    Duty.DEAD_REPLAY: _replay_dead_letters,
    Duty.DEAD_DISCARD: _discard_dead_letters,
    Duty.REPLAY: _replay,
    Duty.DOCTOR: _examine,
    Duty.AUDIT_LOG: _look_at_the_trail,
    Duty.CONTROL: _order,
    Duty.CONTROL_LIST: _look_at_breakers,
    Duty.WORKERS_LIST: _look_at_workers,
    Duty.SCHEDULES: _change_schedules,
    Duty.SCHEDULES_LIST: _look_at_schedules,
    Duty.STATISTICS: _keep_statistics,
    Duty.STATISTICS_SHOW: _look_at_statistics,
    Duty.SCHEMAS_CHECK: _check_schemas,
    Duty.PLAN: _plan,
    Duty.APPLY: _apply,
}


def acls(rights: Iterable[Right]) -> list[Acl]:
    """The rights as the broker has them."""
    return [Acl(right.operation, right.resource, right.name, right.is_prefix) for right in rights]
