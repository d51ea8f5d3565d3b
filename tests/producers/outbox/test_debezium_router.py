"""The configuration of Debezium's outbox router in docs/outbox.md fits the table; no Debezium runs here.

What the router does with a row is in its source: topic, key and value are three columns, and further columns become
headers. Binary columns pass its converter as they are, texts become UTF-8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg

from stoker.databases.outbox.table import NewRow
from stoker.producers.outbox import Outbox
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.wire import headers as wire
from support.code_blocks import code_blocks
from support.scenes.outboxes import make_database, query
from support.scenes.postgres import Postgres
from support.scenes.worker import Journal, Raw, create, publish_raw, running_worker, wait_all_committed

DOCUMENT: Final = Path(__file__).parents[3] / "docs" / "outbox.md"
ROUTER: Final = "transforms.outbox."


def documented() -> dict[str, str]:
    """The router's options, without their prefix, and the connector's."""
    block = next(block for block in code_blocks(DOCUMENT) if block.text.startswith("transforms=outbox\n"))
    pairs = (line.split("=", 1) for line in block.text.splitlines())
    return {name.removeprefix(ROUTER): value for name, value in pairs}


def placed(options: dict[str, str]) -> dict[str, str]:
    """{header: column}."""
    found = (entry.split(":") for entry in options["table.fields.additional.placement"].split(","))
    return {header: column for column, placement, header in found if placement == "header"}


def test_the_columns_are_of_the_types_that_the_router_needs(postgres: Postgres) -> None:
    """Bytes for key and value, texts for all that names something."""
    options = documented()
    url = make_database(postgres.create_database())
    types = dict(
        query(url, "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'stoker_outbox'")
    )
    texts = [options["table.field.event.id"], options["route.by.field"], *placed(options).values()]
    assert [types[column] for column in texts] == ["text"] * len(texts)
    assert [types[options[f"table.field.event.{part}"]] for part in ("key", "payload")] == ["bytea", "bytea"]
    assert options["table.include.list"] == "public.stoker_outbox"
    assert set(placed(options)) == {wire.JOB_ID, wire.JOB_TYPE}


def test_a_worker_runs_what_the_router_makes_of_a_row(
    cluster: ClusterSettings, namespace: str, postgres: Postgres
) -> None:
    """Two headers, the key and the value are enough."""
    options, journal = documented(), Journal()
    pipeline = Pipeline(namespace)
    steps = pipeline.queue("steps", partitions=1)

    @pipeline.job(steps, key="account")
    def step(account: str, number: int) -> None:
        journal.note((account, number))

    create(pipeline, cluster)
    url = make_database(postgres.create_database())
    with psycopg.connect(url) as connection:
        Outbox(pipeline).enqueue(connection, step, "ada", 7)
    names = ", ".join(NewRow._fields)
    ((*row,),) = query(url, f"SELECT {names} FROM stoker_outbox")
    columns = dict(zip(NewRow._fields, row, strict=True))
    headers: list[tuple[str, bytes | None]] = [("id", columns[options["table.field.event.id"]].encode())]
    headers += [(header, columns[column].encode()) for header, column in placed(options).items()]
    key, value = (columns[options[f"table.field.event.{part}"]] for part in ("key", "payload"))
    raw = Raw(value=value, headers=headers, key=key)
    publish_raw(cluster, columns[options["route.by.field"]], [raw])
    with running_worker(pipeline, cluster):
        journal.wait_for(("ada", 7))
        wait_all_committed(cluster, steps)
