"""Foreign text never controls the operator's terminal, whichever command prints it; JSON keeps it exactly."""

from __future__ import annotations

import io
import json
import logging
import re
import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from stoker.consumers.inbox import table_ddl
from stoker.consumers.inspection.snapshot import QueueSnapshot
from stoker.consumers.job.heartbeats import JobProgress
from stoker.operations.cli import main
from stoker.operations.views.live_view import WorkerView
from stoker.operations.views.logging_json import JsonFormatter
from stoker.operations.views.terminal_text import json_text, printable, printable_lines
from stoker.operations.views.text_log import TextFormatter
from stoker.topology import ClusterSettings
from stoker.topology.wire import headers as wire
from support.scenes.shop_application import Shop, open_shop

HOSTILE = "k\x1b[2J\x1b[8m\x1b]0;title\x07\x9b5n\x7f\u202egnp.exe\u2066\u200b\u2028\r\nforged: line\t[red]x[/red]"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("dead", "list"),
    ("dead", "list", "--group"),
    ("dead", "list", "--json"),
    ("dead", "list", "--group", "--json"),
    ("dead", "show", "mails", "0/0"),
    ("dead", "show", "mails", "0/0", "--json"),
    ("dead", "show", "mails", HOSTILE),
    ("dead", "show", "mails", "no\x1b[2Jbody"),
    ("dead", "replay", "mails", "--dry-run"),
    ("dead", "replay", "mails", "--dry-run", "--json"),
    ("dead", "replay", "mails", "--dry-run", "--include-undecodable"),
    ("dead", "replay", "mails", "--set", HOSTILE),
    ("dead", "discard", "mails", "--reason", HOSTILE),
    ("replay", "mails", "--from-offset", "0", "--dry-run"),
    ("replay", HOSTILE, "--from-offset", "0"),
    ("queues", "--sample", "0s"),
    ("queues", "--sample", "0s", "--json"),
    ("queues", HOSTILE),
    ("doctor",),
    ("doctor", "--json"),
    ("topology", "plan"),
    ("topology", "apply", "--allow-repartition", HOSTILE),
    ("topology", "show"),
    ("enqueue", HOSTILE),
    ("enqueue", "send_mail", f"{HOSTILE}=1"),
    ("enqueue", "send_mail", "order_id=1", "--id", "i\x1b[2J\x9b\u202e"),
    ("schemas", "check", "--offline", "--against", "con\x1b[2J\u202etracts"),
    ("--log-level", HOSTILE, "queues"),
    (f"{HOSTILE}", "queues"),
    ("--option", HOSTILE, "queues"),
    ("dead", "discard", "mails", "--reason", HOSTILE, "--yes", "--json"),
)

OWN_STYLE = re.compile(r"\x1b\[(0|1|3\d)m")
"""Reset, bold and colours; the hostile text has none of these."""


def controls(text: str) -> set[str]:
    """What could control a terminal, apart from line ends and the colours of our own."""
    bare = OWN_STYLE.sub("", text).replace("\n", "")
    return {character for character in bare if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}


def run(shop: Shop, *arguments: str, stdin: str | None = None) -> str:
    """Call a command as on a terminal, where nothing is stripped; what it prints, on both streams."""
    called = CliRunner().invoke(
        main, ["-A", shop.application, *arguments], input=stdin, env=shop.environment, color=True
    )
    assert called.exception is None or isinstance(called.exception, SystemExit), called.exception
    return called.output


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings) -> Shop:
    """An application with a dead letter and a waiting job that are hostile in every part."""
    shop = open_shop(tmp_path, monkeypatch, namespace, cluster)
    queue, hostile = shop.pipeline.queues["mails"], HOSTILE.encode()
    texts = (wire.JOB_ID, wire.JOB_TYPE, wire.SOURCE, wire.TIME, wire.ERROR_TYPE, wire.ERROR_MESSAGE, wire.ERROR_STACK)
    instants = (wire.FIRST_FAILED, wire.DEFERRED_SINCE)
    more = (wire.ERROR_FINGERPRINT, wire.REASON, wire.WORKER, wire.ATTEMPT, wire.ORIGIN, *instants, HOSTILE)
    producer = Producer(cluster.client_config())
    for topic in (queue.dead_topic, queue.topic):
        producer.produce(topic, hostile, hostile, 0, headers=[(name, hostile) for name in (*texts, *more)])
    assert producer.flush(20) == 0
    return shop


def test_no_command_prints_what_controls_a_terminal(shop: Shop) -> None:
    """Escapes, C1 controls, marks of direction and foreign line ends are shown as text, brackets as brackets."""
    found = {arguments: controls(run(shop, *arguments)) for arguments in COMMANDS}
    assert {arguments: what for arguments, what in found.items() if what} == {}


def test_lines_files_and_schemas_are_escaped_as_well(shop: Shop) -> None:
    """What a command quotes from its input, a file or a file's name is as foreign as what lies on a topic."""
    assert controls(run(shop, "enqueue", "send_mail", "--lines", stdin=json.dumps({HOSTILE: 1}) + "\n")) == set()
    payload = shop.folder / "p\x1b[2J\u202e.json"
    payload.write_text("{")
    assert controls(run(shop, "dead", "replay", "mails", "0/0", "--payload", str(payload))) == set()

    run(shop, "schemas", "export")
    contract = shop.folder / "contracts" / "send_mail.avsc"
    contract.write_text(contract.read_text().replace("order_id", "order_id\\u001b[2J"))
    assert controls(run(shop, "schemas", "check", "--offline")) == set()

    file = shop.folder / "inbox.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(table_ddl("sqlite", "stoker_inbox"))
        database.execute("INSERT INTO stoker_inbox (queue, job) VALUES (?, 'j')", [HOSTILE])
        database.commit()
    shown = run(shop, "inbox", "status", "--url", f"sqlite:///{file}")
    assert controls(shown) == set()
    assert "[red]x[/red]" in shown


def test_json_keeps_foreign_text_exactly(shop: Shop) -> None:
    """A program reads the key, id and error as they are on the topic."""
    (row,) = (json.loads(line) for line in run(shop, "dead", "list", "--json").splitlines())
    assert (row["key"], row["id"], row["error_message"]) == (HOSTILE, HOSTILE, HOSTILE)
    document = json.loads(run(shop, "dead", "show", "mails", "0/0", "--json"))
    assert [HOSTILE, HOSTILE] in document["headers"]
    assert r"k\x1b[2J" in run(shop, "dead", "list")


def test_the_logs_are_harmless() -> None:
    """A text line stays one line, a stack below it keeps its lines, and a JSON line has exactly what it was given."""
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": HOSTILE, "job_id": HOSTILE})
    line = TextFormatter().format(record)
    assert controls(line) == set()
    assert "\n" not in line
    written = JsonFormatter().format(record)
    assert controls(written) == set()
    assert json.loads(written)["job_id"] == HOSTILE
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    assert controls(TextFormatter().format(record)) == set()


def test_the_live_table_is_harmless() -> None:
    """What a job says of its progress neither moves the cursor nor is read as markup."""
    progress = JobProgress(done=1.0, total=None, note=HOSTILE)
    snapshot = QueueSnapshot(
        queue="q",
        partitions=(),
        in_flight=0,
        delayed=0,
        is_paused=False,
        unfinished=None,
        outcomes={},
        progress={HOSTILE: progress},
    )
    out = io.StringIO()
    Console(file=out, width=300, force_terminal=True, color_system=None).print(
        WorkerView(lambda: [snapshot], "worker [red]host[/red]").table()
    )
    assert controls(out.getvalue().replace("\x1b[3m", "")) == set()
    assert "worker [red]host[/red]" in out.getvalue()
    assert "[red]x[/red]" in out.getvalue()


@given(st.text())
def test_printable_text_is_one_visible_line(text: str) -> None:
    """Whatever the text holds, no character of it controls; visible characters stay."""
    shown = printable(text)
    assert controls(shown) == set()
    assert "\n" not in shown
    assert printable(shown) == shown
    assert controls(printable_lines(text)) == set()


@given(st.recursive(st.text() | st.integers(), st.lists, max_leaves=5))
def test_json_text_is_the_same_data(value: object) -> None:
    """Escaping what is not visible changes no datum, and leaves nothing that controls."""
    written = json_text(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(written) == value
    assert controls(written) == set()
