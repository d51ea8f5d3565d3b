"""A contract that cannot be registered: plan, apply, check, doctor, worker and producer agree about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.consumers import Worker
from stoker.operations.cli.exit_codes import ExitCode
from stoker.producers import Producer
from stoker.producers.errors import ContractNotReady
from stoker.topology import ClusterSettings
from stoker.topology.planning.contracts import ContractsRefused
from stoker.topology.planning.plan import plan
from support.kafka.registry_server import Registry, serving
from support.scenes.shop_application import SOURCE, Shop, open_shop
from support.scenes.worker import running_worker


@pytest.fixture(params=["topic", "registry"])
def store_cluster(request: pytest.FixtureRequest, cluster: ClusterSettings) -> Iterator[ClusterSettings]:
    """The cluster with either place for schemas."""
    if request.param == "topic":
        yield cluster
        return
    with serving(Registry()) as registry:
        yield replace(cluster, schema_registry_url=registry.url)


def test_all_agree_about_a_contract_that_cannot_be_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, store_cluster: ClusterSettings
) -> None:
    """A required field more: nobody is green, nobody starts, and each names the field; the old code goes on."""
    shop = open_shop(tmp_path, monkeypatch, namespace, store_cluster)
    if store_cluster.schema_registry_url:
        shop.environment["STOKER_SCHEMA_REGISTRY_URL"] = store_cluster.schema_registry_url
    assert shop.stoker("topology", "plan", "--check").exit_code == ExitCode.OK
    changed = f"{shop.module}_changed"
    (tmp_path / f"{changed}.py").write_text(
        SOURCE.format(namespace=namespace).replace("order_id: int,", "order_id: int, colour: str,")
    )
    new = Shop(folder=tmp_path, module=changed, environment=shop.environment)

    for command in (["plan"], ["plan", "--check"], ["apply"], ["plan", "--check"]):
        told = new.stoker("topology", *command)
        assert (told.exit_code, "colour" in told.stdout) == (ExitCode.REFUSED, True), told.output
    (refused,) = json.loads(new.stoker("topology", "plan", "--json").stdout)["refused_schemas"]
    assert (refused["job_type"], refused["field"]) == ("send_mail", "colour")
    assert [found.field for found in plan(new.pipeline, store_cluster).contracts] == ["colour"]
    assert "colour" in new.stoker("schemas", "check").stdout
    assert "colour" in new.stoker("doctor").stdout
    worker = new.stoker("worker")
    assert (worker.exit_code, "colour" in worker.stderr) == (ExitCode.REFUSED, True)
    with pytest.raises(ContractsRefused, match="colour"):
        Worker(new.pipeline, store_cluster)
    with Producer(new.pipeline, store_cluster) as producer, pytest.raises(ContractNotReady, match="colour"):
        producer.enqueue(new.pipeline.job_types["send_mail"], 1, "red")

    assert shop.stoker("topology", "plan", "--check").exit_code == ExitCode.OK
    with running_worker(shop.pipeline, store_cluster) as running:
        running.wait_partitions(2)
