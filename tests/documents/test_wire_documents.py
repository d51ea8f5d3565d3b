"""docs/wire-contract.md is true: its lists are the code's, and what is published by it alone is run by a worker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from stoker.consumers.records.outcomes import DeadReason, DeferReason
from stoker.consumers.settling.event_publisher import MOST_EVENTS, MOST_EVENTS_KBYTES
from stoker.operations.broker.errors import BrokerError
from stoker.operations.broker.java import find_jars
from stoker.schemas import Contract
from stoker.schemas.own_records.own import OwnName, is_own
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.wire import headers as wire
from support.code_blocks import CodeBlock, code_blocks
from support.kafka.linked_classes import OPTIONS as BROKER_OPTIONS
from support.scenes.worker import (
    Journal,
    Raw,
    create,
    headers_of,
    publish_raw,
    running_worker,
    wait_all_committed,
    wait_dead,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire-contract.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
FINGERPRINT = "762425c9ad75badc"
"""The documented one, of `shop.send_receipt`."""
FRAMED: Final[tuple[OwnName, ...]] = (
    "LedgerBatch",
    "LedgerEntry",
    "UniqueEnd",
    "JobEvent",
    "JobsEnded",
    "AuditEntry",
)
"""The records of Stoker's own that the document lets readers tell by their first bytes."""


def file_block(name: str) -> CodeBlock:
    """The block of the document that the reader saves under this name."""
    return next(block for block in code_blocks(DOCUMENT) if block.file == name)


def java_block() -> CodeBlock:
    """The document's Java program."""
    return next(block for block in code_blocks(DOCUMENT) if block.language == "java")


def documented(namespace: dict[str, Any], source: str) -> dict[str, Any]:
    """What a block of the document defines."""
    exec(compile(source, str(DOCUMENT), "exec"), namespace)
    return namespace


def declared(namespace: str, journal: Journal) -> tuple[Pipeline, Queue, JobType[[int, str], None]]:
    """The document's application in a namespace of its own, noting what it runs."""
    pipeline = Pipeline(namespace)
    mails = pipeline.queue("mails", partitions=4)

    @pipeline.job(mails)
    def send_receipt(order_id: int, address: str) -> None:
        """Mail the receipt of an order."""
        journal.note((order_id, address))

    return pipeline, mails, send_receipt


def by_hand(contract: Contract, order_id: int, address: str) -> bytes:
    """The value of a job by the document's own functions, and nothing of Stoker but the schema's fingerprint."""
    functions = documented({}, file_block("publish.py").text.partition("producer = ")[0])
    body: bytes = functions["long"](order_id) + functions["string"](address)
    assert functions["FRAME"] == bytes.fromhex(f"C301{FINGERPRINT}")
    return b"\xc3\x01" + contract.fingerprint + body


def with_headers(**more: bytes | None) -> list[tuple[str, bytes | None]]:
    """The two headers that a publisher must set, and others; None leaves one of them out."""
    named = {"ce_id": b"by-hand", "ce_type": b"send_receipt", **more}
    return [(name.replace("stoker_", "stoker-"), value) for name, value in named.items() if value is not None]


def test_the_document_lists_every_header_and_no_other() -> None:
    """A header that is in the code alone, or in the document alone, breaks the contract for somebody."""
    names = {value for name, value in vars(wire).items() if name.isupper() and isinstance(value, str)}
    written = set(re.findall(r"`((?:ce_|stoker-)[a-z-]+|content-type|traceparent|tracestate|baggage)`", TEXT))
    assert written == names


def test_the_document_notes_utf_8_at_the_headers_that_may_have_it_and_at_no_other() -> None:
    """A reader in another language decodes each value as it was written."""
    rows = [line.split(" | ") for line in TEXT.splitlines() if line.startswith("| `") and "UTF-8" in line]
    noted = {name for name, *_ in rows for name in re.findall(r"`((?:ce_|stoker-)[a-z-]+)`", name)}
    noted |= set(re.findall(r"`(stoker-[a-z-]+)`, [^`]*\(UTF-8\)", TEXT))
    assert noted == wire.UTF_8


def test_the_document_lists_every_reason() -> None:
    """Whoever reads `stoker-reason` finds its word."""
    missing = [word for word in (*get_args(DeadReason), *get_args(DeferReason)) if f"`{word}`" not in TEXT]
    assert not missing


def test_the_documented_bound_on_events_is_that_of_their_client() -> None:
    """Whoever counts events knows how many unconfirmed ones a worker keeps before it drops some."""
    assert f"beyond {MOST_EVENTS:,} events or {MOST_EVENTS_KBYTES // 1_024} MiB" in " ".join(TEXT.split())


def test_the_documented_bytes_are_those_of_the_contract() -> None:
    """The example's fingerprint and body are what Stoker itself writes."""
    contract = documented({}, file_block("shop.py").text)["send_receipt"].contract
    assert contract.fingerprint.hex() == FINGERPRINT
    written = contract.encode(contract.payload((42, "ada@example.org"), {}))
    assert by_hand(contract, 42, "ada@example.org") == contract.header + written
    shown = next(block.text for block in code_blocks(DOCUMENT) if block.text.startswith("C3 01"))
    begun = re.findall(r"^(?:[0-9A-F]{2} )+|^[0-9A-F]{2}", shown, flags=re.M)
    assert bytes.fromhex("".join(begun)) == contract.header + written


def test_the_documented_frames_are_those_of_stokers_own_records() -> None:
    """A reader in another language tells ledger entries, events and audit entries by these ten bytes."""
    found = re.findall(r"`(C3 01 [0-9A-F ]+)`\s+and the\s+body of\s+\[(\w+)\.avsc\]", TEXT)
    frames = {name: bytes.fromhex(frame) for frame, name in found}
    assert set(frames) == set(FRAMED)
    assert len(found) == len(frames) == len(re.findall(r"`C3 01 ", TEXT))
    for name in FRAMED:
        assert len(frames[name]) == 10
        assert is_own(name, frames[name]), name


def test_a_job_published_by_the_document_alone_is_run(cluster: ClusterSettings, namespace: str) -> None:
    """A plain client needs nothing but the page."""
    journal = Journal()
    pipeline, mails, send_receipt = declared(namespace, journal)
    create(pipeline, cluster)
    value = by_hand(send_receipt.contract, 42, "ada@example.org")
    publish_raw(cluster, mails.topic, [Raw(value=value, headers=with_headers(), key=b"customer-7")])
    with running_worker(pipeline, cluster):
        journal.wait_for((42, "ada@example.org"))
        wait_all_committed(cluster, mails)


def test_malformed_records_end_as_documented(cluster: ClusterSettings, namespace: str) -> None:
    """Each of the document's dead letters has its word, with key and value as they came; the good job runs."""
    journal = Journal()
    pipeline, mails, send_receipt = declared(namespace, journal)
    create(pipeline, cluster)
    good = by_hand(send_receipt.contract, 1, "ada@example.org")
    bad = {
        b"no id": ("malformed", Raw(value=good, headers=with_headers(ce_id=None), key=b"no id")),
        b"empty type": ("malformed", Raw(value=good, headers=with_headers(ce_type=b""), key=b"empty type")),
        b"attempt": ("malformed", Raw(value=good, headers=with_headers(stoker_attempt=b"0"), key=b"attempt")),
        b"due": ("malformed", Raw(value=good, headers=with_headers(stoker_due=b"2013-01-01T05:17:00"), key=b"due")),
        b"no value": ("undecodable", Raw(value=None, headers=with_headers(), key=b"no value")),
        b"no frame": ("undecodable", Raw(value=b"{}", headers=with_headers(), key=b"no frame")),
        b"cut off": ("undecodable", Raw(value=good[:-1], headers=with_headers(), key=b"cut off")),
    }
    publish_raw(cluster, mails.topic, [raw for _, raw in bad.values()])
    publish_raw(cluster, mails.topic, [Raw(value=good, headers=with_headers(), key=b"good")])
    with running_worker(pipeline, cluster):
        dead = {found.key(): found for found in wait_dead(cluster, mails, len(bad))}
        journal.wait_for((1, "ada@example.org"))
    for key, (reason, raw) in bad.items():
        assert headers_of(dead[key])[wire.REASON] == reason.encode()
        assert dead[key].value() == raw.value


def test_the_java_program_publishes_a_job(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """It compiles against the plain Java client, and a worker runs what it publishes."""
    journal = Journal()
    pipeline, mails, send_receipt = declared(namespace, journal)
    classes = compiled(java_block().text, send_receipt.contract, mails.topic, tmp_path)
    create(pipeline, cluster)
    said = run_java("-cp", classes, "PublishReceipt", cluster.bootstrap_servers, "300", "bob@example.org")
    assert said.startswith(f"{mails.topic}/")
    with running_worker(pipeline, cluster):
        journal.wait_for((300, "bob@example.org"))


def compiled(source: str, contract: Contract, topic: str, folder: Path) -> str:
    """Compile the program for another topic and fingerprint; returns the class path to run it with."""
    if shutil.which("javac") is None:
        pytest.skip("this machine has no Java compiler")
    try:
        jars = find_jars(lambda _said: None)
    except BrokerError as missing:
        pytest.skip(str(missing))
    fresh = ", ".join(f"(byte) 0x{byte:02X}" for byte in contract.header)
    program = re.sub(r"(FRAME = \{).*?\}", rf"\g<1>{fresh}}}", source, flags=re.S).replace("shop.mails", topic)
    (folder / "PublishReceipt.java").write_text(program, encoding="utf-8")
    path = ":".join([str(folder), *map(str, jars)])
    subprocess.run(["javac", "-cp", path, "-d", folder, folder / "PublishReceipt.java"], check=True, timeout=90)
    return path


def run_java(*arguments: str) -> str:
    """Run a program; its standard output."""
    began_at_s = time.monotonic()
    own = {name: value for name, value in os.environ.items() if name != BROKER_OPTIONS}  # it may be an older Java
    done = subprocess.run(["java", *arguments], capture_output=True, text=True, check=False, timeout=90, env=own)
    assert done.returncode == 0, f"after {time.monotonic() - began_at_s:.1f} s:\n{done.stderr}"
    return done.stdout
