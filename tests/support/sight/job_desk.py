"""A namespace in which jobs of one key have ended or wait, and the command line that looks at them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from stoker.operations.cli import main
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline, RetryPolicy
from support.scenes.worker import RunningWorker, create, declare_queue, running_worker, wait_all_committed

APPLICATION = """
from stoker.topology import Pipeline, RetryPolicy, Slo
from datetime import timedelta
pipeline = Pipeline({namespace!r})
queue = pipeline.queue("work", partitions=2, tiers=(timedelta(milliseconds=300), timedelta(seconds=1)))
promise = Slo(wait=timedelta(minutes=1), run=timedelta(minutes=1), success=0.9)

@pipeline.job(queue, key="customer", retry=RetryPolicy(attempts=2), owner="payments", escalation="page", slo=promise)
def act(customer: str, number: int) -> None:
    pass
"""


class Desk:
    """A namespace in which three jobs of one key have ended or wait, and the command line."""

    def __init__(self, cluster: ClusterSettings, namespace: str, folder: Path) -> None:
        self.folder, self._cluster, self._namespace = folder, cluster, namespace
        (folder / f"app_{namespace}.py").write_text(APPLICATION.format(namespace=namespace), encoding="utf-8")
        self.common = ["-A", f"app_{namespace}:pipeline", "--bootstrap-servers", cluster.bootstrap_servers]
        pipeline = self._pipeline(succeeds=False)
        queue, act = pipeline.find_queue("work"), pipeline.find_job_type("act")
        create(pipeline, cluster)
        with Producer(pipeline, cluster) as producer:
            with running_worker(pipeline, cluster, release="v5") as running:
                self.done = producer.enqueue(act, "ada", 1).job_id
                self.dead = producer.enqueue(act, "ada", 2).job_id
                running.wait_outcomes(Done=1, Dead=1)
                wait_all_committed(cluster, queue)
            later = act.with_options(delay=timedelta(hours=2))
            self.delayed = producer.enqueue(later, "ada", 3).job_id
            self.waiting = producer.enqueue(act, "ada", 4).job_id

    def _pipeline(self, *, succeeds: bool) -> Pipeline:
        pipeline, queue = declare_queue(self._namespace)

        @pipeline.job(queue, key="customer", retry=RetryPolicy(attempts=2), owner="billing", runbook="call the bank")
        def act(customer: str, number: int) -> None:
            if number == 2 and not succeeds:
                raise ValueError("card declined")

        return pipeline

    def enqueue(self, customer: str, number: int) -> str:
        """One more job, by its id."""
        pipeline = self._pipeline(succeeds=True)
        with Producer(pipeline, self._cluster) as producer:
            return producer.enqueue(pipeline.find_job_type("act"), customer, number).job_id

    @contextmanager
    def working(self, *, succeeds: bool) -> Iterator[RunningWorker]:
        """A worker of the queue, in which the second job succeeds or fails."""
        with running_worker(self._pipeline(succeeds=succeeds), self._cluster) as running:
            yield running

    def bare(self, *words: str) -> Result:
        """Call a command that needs no index."""
        return CliRunner().invoke(main, [*self.common, *words])

    def run(self, *words: str) -> Result:
        """Call the command line in this process."""
        index = ["--index", str(self.folder / "index.sqlite")]
        return CliRunner().invoke(main, [*self.common, *words, *index])

    def data(self, *words: str) -> Any:
        """What it prints for programs."""
        ended = self.run(*words, "--json")
        assert ended.exit_code == 0, ended.output
        return json.loads(ended.stdout)
