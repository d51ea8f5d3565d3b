"""`OutboxContracts`: the contracts of a pipeline are where workers look for them before the first row goes out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stoker.producers.outbox.contracts import OutboxContracts
from stoker.schemas import MemorySchemaStore
from stoker.topology import ClusterSettings, JobType, Pipeline

NOWHERE = ClusterSettings(bootstrap_servers="127.0.0.1:1")


def declare() -> tuple[Pipeline, JobType[[int], None]]:
    """A pipeline of two job types."""
    pipeline = Pipeline("shop")
    mails = pipeline.queue("mails")

    @pipeline.job(mails, name="bill")
    def bill(order_id: int) -> None:
        """Send a bill."""

    @pipeline.job(mails, name="remind")
    def remind(order_id: int) -> None:
        """Send a reminder."""

    return pipeline, remind


@pytest.mark.expected_errors("a contract could not be registered")
def test_a_contract_that_is_refused_keeps_no_other_from_the_store(caplog: pytest.LogCaptureFixture) -> None:
    """Workers would defer the jobs of all types that are declared after it."""
    store = MemorySchemaStore()
    before = Pipeline("shop")

    @before.job(before.queue("mails"), name="bill")
    def bill_by_name(order_id: str) -> None:
        """Send a bill, as the running release declares it."""

    store.register(bill_by_name.contract)
    pipeline, remind = declare()
    flight = SimpleNamespace(answers=lambda: True)
    contracts = OutboxContracts("shop_outbox", pipeline, NOWHERE, store, flight)  # type: ignore[arg-type]
    assert contracts.register()
    assert [version.frame_id for version in store.versions("remind")] == [remind.contract.fingerprint]
    assert [record.getMessage().count("'bill'") for record in caplog.records] == [1]
