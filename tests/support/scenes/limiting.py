"""A queue with limits, without a broker or threads: its row of gates, and runners that begin what is ready at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from confluent_kafka import Message

from stoker.consumers.gates.gate_row import Beginning, GateRow
from stoker.consumers.limits.limits import Limits
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE, Cancelled
from stoker.consumers.records.record import Record
from stoker.topology import Pipeline
from stoker.topology.declaration.limits import Limit

SECOND = timedelta(seconds=1)
WINDOW_S = 1.05
"""A second, and what is added to it."""

EPOCH_S = 1_000.0
"""The clock of the row and the limits' own are different ones."""


@dataclass
class LimitedScene:
    """A queue with limits, its row, and runners that begin what is ready at once, if `runs`, and has not `expired`."""

    limits: Sequence[Limit]
    of_type: Sequence[Limit] = ()
    cost: int = 1
    now_s: float = 100.0
    runs: bool = True
    begun: list[int] = field(default_factory=list)
    ready: list[Record] = field(default_factory=list)
    expired: set[int] = field(default_factory=set)
    records: dict[int, Record] = field(default_factory=dict)
    turns: int = 0

    def __post_init__(self) -> None:
        """Declare it."""
        pipeline = Pipeline("unit")
        queue = pipeline.queue("q", limits=list(self.limits), route_by="tenant", ordering="none")
        pipeline.job(queue, name="work", limits=list(self.of_type), cost=self.cost)(lambda: None)
        self.assignment = Assignment(1, queue.topic, 0, keeps_order=False)
        self.row = GateRow(clock=lambda: self.now_s + EPOCH_S)
        self.gate = Limits(
            self.row, queue, pipeline.job_types, clock=lambda: self.now_s, epoch=lambda: self.now_s + EPOCH_S
        )
        self.row.add([self.gate])
        self.row.start(self.make_ready)

    def make_ready(self, records: list[Record]) -> None:
        """As the dispatch does."""
        self.ready += self.row.admit(records) if self.row else records
        if self.runs:
            self.run_ready()

    def run_ready(self) -> None:
        """The runners begin what is ready."""
        while self.ready:
            record = self.ready.pop(0)
            if record.offset in self.expired:
                self.row.note_ended(record, Cancelled(reason="expired", detail=""))
            elif self.row.begin(record) is Beginning.BEGINS:
                self.begun.append(record.offset)

    def come(self, *offsets: int, tenant: str = "acme", key: str | None = None, cost: int | None = None) -> None:
        """Jobs come."""
        for offset in offsets:
            headers = [("ce_type", b"work"), ("ce_id", b"%d" % offset), ("stoker-tenant", tenant.encode())]
            if cost is not None:
                headers.append(("stoker-cost", b"%d" % cost))
            message = Message(
                topic="t",
                partition=0,
                offset=offset,
                key=None if key is None else key.encode(),
                value=b"",
                headers=headers,  # type: ignore[arg-type]  # the stub's list is invariant
                timestamp=(1, 0),
            )
            self.records[offset] = Record(message, self.assignment)
            self.make_ready([self.records[offset]])

    def pass_s(self, seconds: float) -> None:
        """Time passes; the poll thread turns when something is to do, as its timeout has it."""
        end_s = self.now_s + seconds
        while (at_s := self.row.next_at_s) is not None and at_s - EPOCH_S <= end_s:
            self.now_s = max(self.now_s + 1e-6, at_s - EPOCH_S)
            self.row.ask_again()
            self.turns += 1
        self.now_s = end_s

    def end(self, *offsets: int) -> None:
        """Runs end."""
        for offset in offsets:
            self.row.note_ended(self.records[offset], DONE)
