"""What processes of `stoker` show by `--metrics-port` and `--otel-metrics`: figures that the list has."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stoker.operations.outbox import create_outbox
from stoker.producers.outbox import Outbox
from stoker.topology import ClusterSettings
from support.scenes.shop_application import Shop, open_shop
from support.sight.otlp_metrics import SET_UP, receiving_metrics
from support.sight.scraping import Scrape, free_ports, scrape
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

DEADLINE_S = 60.0
SETTLED = "stoker_jobs_settled_total"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings) -> Shop:
    """An application with its topics."""
    return open_shop(tmp_path, monkeypatch, namespace, cluster)


@contextmanager
def running(shop: Shop, *words: str) -> Iterator[None]:
    """A command of `stoker` as a process of its own, which ends in order."""
    command = [sys.executable, "-m", "stoker.operations.cli", "-A", shop.application, *words]
    with Path("log").open("wb") as log:
        process = subprocess.Popen(command, env=shop.process_environment(), stdout=log, stderr=log)
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0, Path("log").read_text()
        finally:
            process.kill()
            process.wait()


def page_with(port: int, name: str, value: float, **labels: str) -> Scrape:
    """The page, once it has this value."""

    def page() -> Scrape | None:
        try:
            found = scrape(port)
        except OSError:  # it does not listen yet
            return None
        return found if found.value(name, **labels) == value else None

    return wait_until(page, DEADLINE_S, f"{name} to be {value}; the log: {Path('log').read_text()}")


def test_a_worker_and_the_index_show_what_became_of_a_job(shop: Shop) -> None:
    """Both pages have the namespace in each series, and nothing that is not in the list."""
    worker = free_ports(2)
    index, namespace = worker + 1, shop.pipeline.namespace
    shop.stoker("enqueue", "send_mail", "order_id=77")
    with running(shop, "worker", "--queue", "mails", "--metrics-port", str(worker)):
        page = page_with(worker, SETTLED, 1, outcome="done", type="send_mail", pipeline=namespace)
    assert page.unlisted() == []
    assert page.label_values(SETTLED, "pipeline") == {namespace}
    with running(shop, "status", "run", "--metrics-port", str(index)):
        page = page_with(index, "stoker_index_behind", 0, pipeline=namespace)
    assert page.unlisted() == []
    assert (page.value("stoker_index_read_total") or 0) >= 1
    assert (page.value("stoker_index_size_bytes") or 0) > 0


def test_a_relay_shows_what_it_has_published(shop: Shop, tmp_path: Path) -> None:
    """Rows, whether it leads, whether it has trouble; with the name of its table."""
    url, port = f"sqlite:///{tmp_path / 'shop.sqlite'}", free_ports(1)
    create_outbox(url)
    outbox, send_mail = Outbox(shop.pipeline), shop.pipeline.job_types["send_mail"]
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
        for number in range(3):
            outbox.enqueue(connection, send_mail, number)
        connection.commit()
    table = {"table": "stoker_outbox", "pipeline": shop.pipeline.namespace}
    with running(shop, "outbox", "relay", "--url", url, "--metrics-port", str(port)):
        page = page_with(port, "stoker_outbox_published_total", 3, **table)
    assert page.unlisted() == []
    assert page.value("stoker_outbox_leads", **table) == 1
    assert page.value("stoker_outbox_trouble", **table) == 0


def test_a_worker_sends_its_metrics_by_otlp(shop: Shop) -> None:
    """`--otel-metrics` gives them to the SDK that the application has set up."""
    done = {"stoker.pipeline": shop.pipeline.namespace, "stoker.type": "send_mail", "stoker.outcome": "done"}
    shop.stoker("enqueue", "send_mail", "order_id=77")
    with receiving_metrics() as receiver:
        with Path(f"{shop.module}.py").open("a") as source:
            source.write(SET_UP.format(url=receiver.url))
        with running(shop, "worker", "--queue", "mails", "--otel-metrics"):
            wait_until(lambda: receiver.value("stoker.jobs.settled", done) == 1, DEADLINE_S, "the job, by OTLP")
            wait_until(lambda: receiver.value("stoker.ready", {}) == 1, DEADLINE_S, "the worker to be ready, by OTLP")
            assert receiver.value("stoker.queue.unfinished", {"stoker.queue": "mails"}) == 0
            assert receiver.value("messaging.process.duration.count", {"stoker.type": "send_mail"}) == 1
