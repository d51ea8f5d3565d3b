"""`stoker enqueue`: what is typed becomes a job that a worker can read, or is refused with its field named."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.payload_input import InputRefused, payload_from_pairs
from stoker.operations.stored_jobs.topic_reader import TopicReader
from stoker.schemas import Contract, Decoder
from stoker.topology import ClusterSettings
from stoker.topology.planning.schema_store import schema_store
from stoker.topology.wire.headers import header_map
from support.scenes.shop_application import Shop, make_shop, open_shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings) -> Shop:
    """An application with its topics."""
    return open_shop(tmp_path, monkeypatch, namespace, cluster)


def published(shop: Shop, cluster: ClusterSettings, job_type: str) -> list[tuple[Message, dict[str, Any]]]:
    """The jobs on the main topic of a job type's queue, with their payloads as JSON data."""
    found = shop.pipeline.find_job_type(job_type)
    store = schema_store(shop.pipeline, cluster)
    store.refresh(10)
    try:
        with TopicReader(cluster, found.queue.topic) as reader:
            messages = list(reader.read(reader.spans()))
        decoder = Decoder(store)
        values = [decoder.decode(found.contract, message.value() or b"") for message in messages]
        return [(message, found.contract.to_json(value)) for message, value in zip(messages, values, strict=True)]
    finally:
        store.close()


def test_pairs_become_a_job_with_its_options(shop: Shop, cluster: ClusterSettings) -> None:
    """A text field takes 42 as text, a number as a number; key, id, expiry and headers travel with the job."""
    result = shop.stoker(
        *("enqueue", "send_mail", "order_id=7", "name=42", "at=2013-01-01T05:17:00Z", 'tags=["a"]', "--key", "c1"),
        *(
            "--id",
            "job-1",
            "--idempotency-key",
            "once",
            "--expires",
            "2h",
            "--source",
            "/test",
            "--header",
            "tenant=t1",
            "--tenant",
            "acme",
        ),
        "--json",
    )
    assert result.exit_code == ExitCode.OK, result.stderr
    [(message, payload)] = published(shop, cluster, "send_mail")
    assert payload == {"order_id": 7, "name": "42", "at": "2013-01-01T05:17:00+00:00", "tags": ["a"]}
    headers = header_map(message.headers())  # type: ignore[arg-type]  # consumed headers are a list of pairs
    assert message.key() == b"c1"
    assert (headers["ce_id"], headers["ce_source"], headers["tenant"]) == (b"job-1", b"/test", b"t1")
    assert (headers["stoker-idempotency-key"], headers["stoker-tenant"]) == (b"once", b"acme")
    assert "stoker-expires" in headers
    receipt = json.loads(result.stdout)
    assert receipt["job_id"] == "job-1"
    assert (receipt["partition"], receipt["offset"]) == (message.partition(), message.offset())


def test_a_delayed_job_has_its_due_time_on_the_topic_and_in_the_receipt(shop: Shop, cluster: ClusterSettings) -> None:
    """Given as an instant or as a length of time; in the line for people and in JSON."""
    at = shop.stoker("enqueue", "send_mail", "order_id=1", "--at", "2100-01-01T05:17:00+01:00", "--json")
    delayed = shop.stoker("enqueue", "send_mail", "order_id=2", "--delay", "10d")
    assert (at.exit_code, delayed.exit_code) == (ExitCode.OK, ExitCode.OK), at.stderr + delayed.stderr
    assert json.loads(at.stdout)["due_at"] == "2100-01-01T04:17:00Z"
    due_at = datetime.fromisoformat(delayed.stdout.rsplit(", due ", 1)[1].strip())
    assert timedelta(days=9, hours=23) < due_at - datetime.now(UTC) <= timedelta(days=10)
    dues = {
        payload["order_id"]: header_map(message.headers())["stoker-due"]  # type: ignore[arg-type]  # as above
        for message, payload in published(shop, cluster, "send_mail")
    }
    assert dues[1] == b"2100-01-01T04:17:00.000000Z"
    assert dues[2].startswith(due_at.strftime("%Y-%m-%dT%H:%M:%S").encode())


def test_data_is_read_from_an_option_a_file_and_stdin(shop: Shop, cluster: ClusterSettings) -> None:
    """The three ways of giving JSON are equal."""
    Path("bill.json").write_text('{"amount": "2"}')
    given = [
        (("--data", '{"amount": "1"}'), None),
        (("--data-file", "bill.json"), None),
        (("--data-file", "-"), '{"amount": "3"}'),
    ]
    for options, stdin in given:
        result = shop.stoker("enqueue", "write_bill", *options, stdin=stdin)
        assert result.exit_code == ExitCode.OK, result.stderr
    amounts = [payload["amount"] for _, payload in published(shop, cluster, "write_bill")]
    assert [float(amount) for amount in amounts] == [1, 2, 3]


def test_lines_that_do_not_fit_are_named_and_the_rest_is_published(shop: Shop, cluster: ClusterSettings) -> None:
    """Of five lines, one blank, one no JSON and one of a wrong type, two are published; none is lost unsaid."""
    lines = '{"order_id": 1}\n\nnot json\n{"order_id": "x"}\n{"order_id": 2}\n'
    result = shop.stoker("enqueue", "send_mail", "--lines", stdin=lines)
    assert result.exit_code == ExitCode.FINDING
    assert "line 3" in result.stderr
    assert "line 4: job type 'send_mail': field 'order_id'" in result.stderr
    assert {payload["order_id"] for _, payload in published(shop, cluster, "send_mail")} == {1, 2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send_mal", "order_id=1"], "did you mean send_mail?"),
        (["send_mail"], "'order_id'"),
        (["send_mail", "order_id=many"], "'order_id' must be an int"),
        (["send_mail", "order_id=1", "colour=red"], "'colour'"),
        (["send_mail", "order_id"], "not field=value"),
        (["send_mail", "order_id=1", "order_id=2"], "given twice"),
        (["send_mail", "order_id=1", "--data", "{}"], "exclude each other"),
        (["send_mail", "--data", "{"], "--data is not JSON"),
        (["send_mail", "order_id=1", "--lines"], "exclude each other"),
        (["send_mail", "order_id=1", "--expires", "soon"], "neither a length of time"),
        (["send_mail", "order_id=1", "--delay", "1h", "--at", "2013-01-01"], "exclude each other"),
        (["send_mail", "order_id=1", "--delay", "soon"], "soon"),
        (["send_mail", "order_id=1", "--at", "2013-01-01T05:17:00"], "no offset from UTC"),
        (["send_mail", "order_id=1", "--header", "tenant"], "name=value"),
    ],
)
def test_what_cannot_be_a_job_is_refused_before_any_cluster_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, arguments: list[str], said: str
) -> None:
    """A wrong payload or option is told by its name, with exit code 2, even while no broker runs."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    result = shop.stoker("enqueue", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert said in " ".join(result.stderr.split())


def test_a_reserved_header_is_refused(shop: Shop) -> None:
    """Nobody passes for Stoker by hand."""
    result = shop.stoker("enqueue", "send_mail", "order_id=1", "--header", "stoker-attempt=9")
    assert result.exit_code == ExitCode.USAGE
    assert "stoker-attempt" in result.stderr


def test_missing_topics_are_reported_with_the_command_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings
) -> None:
    """Who enqueues before the topology was applied reads what to run."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = cluster.bootstrap_servers
    result = shop.stoker("enqueue", "send_mail", "order_id=1")
    assert result.exit_code == ExitCode.FINDING
    assert "stoker topology apply" in result.stderr


def _contract(annotation: Any) -> Contract:
    def job(value: Any) -> None: ...

    job.__annotations__ = {"value": annotation, "return": None}
    return Contract.of_function(job, job_type="probe", namespace="t")


@pytest.mark.parametrize(
    ("annotation", "written", "meant"),
    [
        (str, "12", "12"),
        (str | None, "null", None),
        (str | None, "12", "12"),
        (int | None, "12", 12),
        (int | None, "null", None),
        (bool, "true", True),
        (float, "1.5", 1.5),
        (int, "x", "x"),
        (list[str], '["a"]', ["a"]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (bytes, "12", "12"),
        (date | str, "2026-03-01", "2026-03-01"),
        (date | str, '{"string": "2026-03-01"}', {"string": "2026-03-01"}),
        (str | None, '{"string": "x"}', '{"string": "x"}'),
    ],
)
def test_a_typed_value_is_read_as_its_field_wants_it(annotation: Any, written: str, meant: object) -> None:
    """Text fields take the text as it is; elsewhere it is JSON, or stays text for the contract to refuse."""
    assert payload_from_pairs(_contract(annotation), [f"value={written}"]) == {"value": meant}


def test_a_pair_without_an_equals_sign_names_the_fields() -> None:
    """The refusal shows what could have been meant."""
    with pytest.raises(InputRefused, match="the fields are: value"):
        payload_from_pairs(_contract(int), ["7"])
