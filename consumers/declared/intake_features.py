"""`make_intake`: what looks at arriving records, brings delayed ones forward, and wants records read again.

Each feature is a class in a file of its own, in `intake/`, and has a line here for each thing that it does. The order
of the lines is the order in which they are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from ..backlog.rereader import Rereader
from ..carrying.carrier import Carrier
from ..carrying.restored_jobs import RestoredJobs
from ..delays.calendar import Calendar
from ..delays.cancelled_delays import CancelledDelays
from ..delays.rescheduled_delays import RescheduledDelays
from ..dispatch.unbegun_records import UnbegunRecords
from ..fairness.fair_runners import FairRunners
from ..fairness.read_ahead import ReadAhead
from ..gates.gate_row import GateRow
from ..in_flight.memory_bounds import MemoryBounds
from ..instruments.instruments import NO_INSTRUMENTS, Instruments
from ..intake.carried_records import CarriedRecords
from ..intake.completed_records import CompletedRecords
from ..intake.delayed_records import DelayedRecords
from ..intake.due_records import DueRecords
from ..intake.handover import Handover
from ..intake.heavy_tenants import ROOM_PART, HeavyTenants
from ..intake.intake import Arrivals, Intake, OnError, Way
from ..intake.lane_records import LaneRecords
from ..intake.reread_records import RereadRecords
from ..intake.unique_arrivals import FindEnd, UniqueArrivals
from ..ordering.lanes import Lanes
from ..partitions.assignments import Assignments
from ..rebalance.rebalance import Rebalance
from ..records.record import Record
from ..sources.source import Carried, Delay, Main, Priority, Source, Tier, sources_of
from ..standing_orders.cancels import Cancels


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeParts:
    """The parts that the intake of a queue and its features are made of."""

    assignments: Assignments
    memory_bounds: MemoryBounds
    calendar: Calendar
    lanes: Lanes
    gates: GateRow
    unbegun: UnbegunRecords
    cancels: Cancels
    fair: FairRunners | None
    read_ahead: ReadAhead | None
    rebalance: Rebalance
    rereader: Rereader
    carrier: Carrier
    restored: RestoredJobs
    on_error: OnError
    find_end: FindEnd
    instruments: Instruments = NO_INSTRUMENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredIntake:
    """The intake of one queue.

    Attributes:
        arriving: the records that were fetched.
        due: the delayed records that wait no more.
        reread: the records that were known by their offsets.
        heavy_tenants: the tenants with very many records; None where tenants share nothing.
    """

    arriving: Intake
    due: DueRecords
    reread: RereadRecords
    heavy_tenants: HeavyTenants | None


def make_intake(parts: IntakeParts) -> DeclaredIntake:
    """Make the intake of a queue, with the features that it declares."""
    features = _Features(parts)
    return DeclaredIntake(
        arriving=Intake(
            parts.assignments, parts.rebalance, features.handover, parts.on_error, _arrivals(parts, features)
        ),
        due=_due_records(parts, features),
        reread=_reread_records(parts, features),
        heavy_tenants=next(iter(features.heavy_tenants), None),
    )


class _Features:
    """The features of a queue that have to do with its intake; of those that not each queue has, one or none."""

    def __init__(self, parts: IntakeParts) -> None:
        assignments, memory_bounds, calendar = parts.assignments, parts.memory_bounds, parts.calendar
        self.handover = Handover(parts.lanes, memory_bounds, parts.instruments)
        self.unique = [UniqueArrivals(assignments, calendar, parts.find_end)] if assignments.queue.unique else []
        self.heavy_tenants = _heavy_tenants(parts, self.handover)
        self.rescheduled = RescheduledDelays(calendar, assignments)
        self.cancelled = CancelledDelays(calendar, parts.cancels, assignments.queue_name)
        self.delayed = DelayedRecords(
            calendar,
            memory_bounds,
            ends_wait=(*(one.note_waiting for one in self.unique), self.cancelled.has),
            room_part=ROOM_PART if self.heavy_tenants else 1,
        )
        self.carried = CarriedRecords(parts.carrier, parts.restored, assignments, self.handover)
        self.lanes = LaneRecords(parts.lanes, parts.unbegun, memory_bounds, self.handover)


def _heavy_tenants(parts: IntakeParts, handover: Handover) -> list[HeavyTenants]:
    fair, ahead = parts.fair, parts.read_ahead
    if fair is None or ahead is None:
        return []
    return [HeavyTenants(ahead, fair, parts.assignments, parts.lanes, parts.rereader, handover)]


def _arrivals(parts: IntakeParts, features: _Features) -> Arrivals:
    """Name all that looks at records as they arrive."""
    return Arrivals(
        in_step=features.carried.in_step,
        filters=(CompletedRecords(parts.assignments), *features.unique, *features.heavy_tenants),
        diverters=(*features.heavy_tenants, features.lanes),
        ways=_ways(parts, features),
    )


def _ways(parts: IntakeParts, features: _Features) -> Mapping[str, Way]:
    return {topic: _way_of(source, features) for topic, source in sources_of(parts.assignments.queue).items()}


def _way_of(source: Source, features: _Features) -> Way:
    """Find the function that takes the records of a source; of the main topic, it takes those that no diverter does."""
    match source:
        case Main() | Priority():
            return Record
        case Tier() | Delay():
            return features.delayed.take
        case Carried():
            return features.carried.take
        case _:
            assert_never(source)


def _due_records(parts: IntakeParts, features: _Features) -> DueRecords:
    """Name all that brings delayed records forward, and all that gives those that wait no more."""
    return DueRecords(
        parts.gates,
        features.handover,
        forward=(features.rescheduled.bring_forward, *(one.bring_forward for one in features.unique)),
        due=(
            features.delayed.pop_due,
            lambda: features.cancelled.turn(parts.memory_bounds.room) if features.cancelled else (),
        ),
    )


def _reread_records(parts: IntakeParts, features: _Features) -> RereadRecords:
    """Name all that moves lanes, and all that wants records read again; lanes take those that are left."""
    return RereadRecords(
        parts.assignments.queue_name,
        parts.rereader,
        features.handover,
        parts.rebalance,
        moves=(
            features.carried.turn,
            features.lanes.set_aside,
            *(one.turn for one in features.heavy_tenants),
            features.lanes.wake,
        ),
        requesters=(features.carried, features.cancelled, features.delayed, *features.heavy_tenants, features.lanes),
        lost=[one.note_gone for one in features.unique],
    )
