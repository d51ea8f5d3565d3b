"""What the audit topic's records say: which action, what before and after, and which filters take it."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import pytest
from confluent_kafka import Message

from stoker.operations.audit_log import actions as actions_module
from stoker.operations.audit_log.actions import (
    NO_END,
    OFF_TRAIL,
    ActionKind,
    ActionReader,
    AuditedAction,
    action_of_entry,
    action_of_order,
    as_done,
    read_actions,
)
from stoker.operations.audit_log.exports import output, write_csv, write_jsonl
from stoker.operations.audit_log.filters import ActionFilter, as_shown
from stoker.operations.replay.audit import OTHERS, Action, AuditTrail
from stoker.operations.replay.units import Unit
from stoker.schemas.own_records.audit_entries import AuditEntry, decode_audit_entry, encode_audit_entry
from stoker.schemas.own_records.control_records import ControlOrder, encode_order
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.actor import Actor
from stoker.topology.wire.orders import UNAUDITED, order_key

AT = datetime(2013, 1, 1, 5, 17, tzinfo=UTC)
PAUSE = ControlOrder(
    order_id="o1", verb="pause", operator="ann", host="web-1", at=AT, queue="mails", reason="Stripe is down"
)
BEGUN = AuditEntry(
    action_id="r1",
    action="dead-letters-replayed",
    phase="begun",
    at=AT,
    began=AT,
    operator="bob",
    host="web-2",
    command="stoker dead replay",
    queue="bills",
    before={"job-7 amount": "1"},
    after={"job-7 amount": "2"},
    detail={"counts": '{"charge": 1200}', "filters": '{"ids": ["job-8"]}'},
)
ENDED = replace(BEGUN, phase="ended", at=AT + timedelta(minutes=5))


def test_an_entry_is_read_as_it_was_written() -> None:
    """Each field of an entry comes back from the wire."""
    assert decode_audit_entry(encode_audit_entry(ENDED)) == ENDED


def test_an_order_has_what_stood_before_it_and_what_stands_after() -> None:
    """A second pause takes the first one's place, and a resume leaves nothing."""
    longer = replace(PAUSE, order_id="o2", until=AT + timedelta(hours=2))
    action = action_of_order(longer, {"stoker-command": b"stoker control pause", "stoker-version": b"1.2"}, PAUSE)
    assert (action.before, action.after) == (
        {"queue mails": "pause queue mails"},
        {"queue mails": "pause queue mails until 2013-01-01 07:17:00Z"},
    )
    assert (action.kind, action.command, action.version, action.by) == (
        *(ActionKind.ORDER, "stoker control pause", "1.2", "ann@web-1"),
    )
    assert action_of_order(replace(PAUSE, verb="resume"), {}, longer).after == {}


def test_an_order_without_an_audit_record_says_so() -> None:
    """It is read from the topic of orders, where it stands."""
    action = action_of_order(replace(PAUSE, detail={UNAUDITED: "stoker control pause"}), {}, None)
    assert (action.outcome, action.command) == (OFF_TRAIL, "stoker control pause")


def test_an_action_whose_end_is_not_on_record_says_so_until_it_is() -> None:
    """A killed process leaves its beginning alone; the end takes its place."""
    assert [action.outcome for action in as_done([action_of_entry(BEGUN)])] == [NO_END]
    (action,) = as_done([action_of_entry(BEGUN), action_of_entry(ENDED)])
    assert (action.outcome, action.at, action.ended_at) == ("ended", AT, AT + timedelta(minutes=5))
    assert (action.about, action.job_types) == ("queue bills: 1,200 charge", ("charge",))


def test_a_replay_that_another_operator_continues_is_an_action_of_both() -> None:
    """It goes on under the first one's id; who began it, and why, stays on the trail."""
    stopped = replace(BEGUN, phase="stopped", at=AT + timedelta(minutes=1), reason="Stripe was down")
    later = AT + timedelta(hours=1)
    again = replace(BEGUN, operator="ann", at=later, began=later)
    entries = [BEGUN, stopped, again, replace(again, phase="ended", at=later + timedelta(minutes=1))]
    actions = as_done(map(action_of_entry, entries))
    assert [(one.operator, one.outcome, one.reason) for one in actions] == [
        ("bob", "stopped", "Stripe was down"),
        ("ann", "ended", ""),
    ]
    assert [one.count for one in as_shown(actions)] == [1, 1]


def test_a_worker_that_is_stopped_takes_no_other_order_away() -> None:
    """All orders to stop have one key, and none of them stands: what stood before is not the one for another worker."""
    reader = ActionReader()
    stops = [
        replace(PAUSE, verb="stop", order_id=name, queue=None, worker=name, until=AT + timedelta(minutes=10))
        for name in ("w1", "w2")
    ]
    actions = [reader.read(Written(order)) for order in stops]  # type: ignore[arg-type]  # as much of a message as is read
    assert [(one.about, one.before, one.after) for one in actions if one] == [
        ("worker w1", {}, {}),
        ("worker w2", {}, {}),
    ]


@dataclass(frozen=True)
class Written:
    """An order on the audit topic."""

    order: ControlOrder

    def key(self) -> bytes:
        """Its key there."""
        return order_key(self.order).encode()

    def value(self) -> bytes:
        """The order."""
        return encode_order(self.order)

    def headers(self) -> list[tuple[str, bytes]]:
        """None."""
        return []


class _Foreign(Message):
    """A record of another program: the client fails over the name of its header."""

    def headers(self) -> None:
        raise SystemError("returned a result with an exception set")


@pytest.mark.parametrize("value", [b"no order", None])
def test_a_foreign_record_on_the_control_topic_hides_no_action(
    monkeypatch: pytest.MonkeyPatch, value: bytes | None
) -> None:
    """It is passed over, and orders that were given without an audit record are found behind it."""
    off_trail = Message(value=encode_order(replace(PAUSE, detail={UNAUDITED: "stoker control pause"})))
    found = {"shop.audit": [], "shop.control": [_Foreign(value=value), off_trail]}
    monkeypatch.setattr(actions_module, "read_log", lambda _cluster, topic, **_options: found[topic])
    read = list(read_actions(Pipeline("shop"), ClusterSettings(bootstrap_servers="127.0.0.1:1")))
    assert [one.operator for one in read] == [PAUSE.operator]


def test_a_discard_of_very_many_types_says_how_many_jobs_it_takes() -> None:
    """A publisher that puts ids into the names of types leaves dead letters of as many types; all are counted."""
    written = list[bytes]()

    class Publisher:
        def publish(self, units: Sequence[Unit]) -> None:
            written.extend(record.value or b"" for unit in units for record in unit.records)

    pipeline = Pipeline("shop")
    actor = Actor(operator="ann", host="web-1", command="stoker dead discard", version="1")
    trail = AuditTrail(Publisher(), pipeline, pipeline.queue("bills"), actor, Action.DEAD_DISCARD)  # type: ignore[arg-type]
    counts = {"x" * 1_000_000: 2, "charge": 7_000, **{f"charge-{number:0200}": 1 for number in range(900)}}
    trail.begin("d1", counts=counts, filters={})
    action = action_of_entry(decode_audit_entry(written[0]))
    numbers = [int(part.split()[0].replace(",", "")) for part in action.about.split(": ")[1].split(", ")]
    assert (sum(numbers), "charge" in action.job_types, OTHERS in action.job_types) == (7_902, True, True)


def test_contracts_are_counted_and_found_by_their_job_types() -> None:
    """The action of an entry about contracts names how many they are, and whose."""
    registered = replace(
        ENDED, action="contracts-registered", queue="", after={"charge": "version 2 ()"}, detail={"contracts": "1"}
    )
    action = action_of_entry(registered)
    assert (action.kind, action.about, action.job_types) == (ActionKind.CONTRACT, "1 contract", ("charge",))
    assert ActionFilter(actions=("contract",), job_type="charge").takes(action)


@pytest.mark.parametrize(
    "wanted",
    [
        ActionFilter(by="bob"),
        ActionFilter(by="web-2"),
        ActionFilter(by="bob@web-2"),
        ActionFilter(actions=("replay",)),
        ActionFilter(actions=("topology", "dead-letters-replayed")),
        ActionFilter(queue="bills"),
        ActionFilter(job_type="charge"),
        ActionFilter(job_id="job-7"),
        ActionFilter(job_id="job-8"),
        ActionFilter(words=("AMOUNT", "bills")),
        ActionFilter(since=AT + timedelta(minutes=5), until=AT + timedelta(minutes=6)),
    ],
    ids=str,
)
def test_filters_take_the_replay_and_leave_the_pause(wanted: ActionFilter) -> None:
    """Each filter is about the action's own data; the action counts as done from its beginning to its end."""
    assert wanted.takes(action_of_entry(ENDED))
    assert not wanted.takes(action_of_order(PAUSE, {}, None))


def test_orders_of_one_command_are_shown_as_one() -> None:
    """A cancel of three jobs is one line for people."""
    actions = [action_of_order(replace(PAUSE, verb="cancel", job_id=f"job-{n}"), {}, None) for n in range(3)]
    assert [(action.job_id, action.count) for action in as_shown(actions)] == [("job-2", 3)]
    assert len(as_done(actions)) == 3


def test_a_cancel_of_very_many_jobs_takes_no_memory_for_each() -> None:
    """Each of a million cancels is a record; who looks at the log does not need a gigabyte for them."""
    cancel = replace(PAUSE, verb="cancel")
    orders = (action_of_order(replace(cancel, job_id=f"job-{number}"), {}, None) for number in range(3_000))
    assert next(orders).job_id == "job-0"  # with this one, modules are loaded
    tracemalloc.start()
    try:
        shown = list(as_shown(chain([action_of_entry(BEGUN)], orders, [action_of_entry(ENDED)])))
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [(one.action, one.count, one.outcome) for one in shown] == [
        ("dead-letters-replayed", 1, "ended"),
        ("cancel", 2_999, "done"),
    ]
    assert most_bytes < 1_000_000  # of 4 MB, were each kept


def test_filters_take_single_jobs_of_a_cancel_of_many() -> None:
    """And of an entry that has ended by now only its end, as that is what it is."""
    cancels = [action_of_order(replace(PAUSE, verb="cancel", job_id=f"job-{n}"), {}, None) for n in range(10)]
    entries = [action_of_entry(BEGUN), action_of_entry(ENDED)]
    (one,) = as_shown([*cancels, *entries], ActionFilter(job_id="job-3").takes)
    assert (one.job_id, one.count) == ("job-3", 1)
    late = ActionFilter(since=AT + timedelta(minutes=4))
    assert [one.outcome for one in as_shown([*cancels, *entries], late.takes)] == ["ended"]


def test_an_export_has_all_of_it_and_runs_no_formula() -> None:
    """A reason that begins like a formula is text in a spreadsheet; JSON lines have it as it is."""
    actions = [action_of_order(replace(PAUSE, reason="=HYPERLINK(1)"), {}, None), action_of_entry(ENDED)]
    sheet, lines = io.StringIO(newline=""), io.StringIO()
    assert (write_csv(actions, sheet), write_jsonl(actions, lines)) == (2, 2)
    first, second = csv.DictReader(io.StringIO(sheet.getvalue(), newline=""))
    assert (first["reason"], first["action"], json.loads(second["after"])) == (
        *("'=HYPERLINK(1)", "pause", {"job-7 amount": "2"}),
    )
    assert json.loads(lines.getvalue().splitlines()[0])["reason"] == "=HYPERLINK(1)"


def test_an_export_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    """A file of that name is whole, or it is the one from before."""
    path = tmp_path / "audit.csv"
    path.write_text("before")

    def broken() -> list[AuditedAction]:
        raise ConnectionError("the brokers are gone")

    with pytest.raises(ConnectionError), output(str(path)) as to:
        write_csv(broken(), to)
    assert [found.name for found in tmp_path.iterdir()] == ["audit.csv"]
    assert path.read_text() == "before"
