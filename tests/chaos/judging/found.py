"""What was found on the topics and in the database at the end of a run, kept beside the notes: so that a run can be
judged again, by checks that have become stricter, when its cluster is long gone."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos.cluster.orders import OrderReader
from chaos.cluster.topics import Reader
from chaos.faults import Stage
from chaos.fleet.effects import count_effects
from chaos.fleet.logs import ended_processes, lost_partitions
from chaos.judging.account import (
    Account,
    DeadLetter,
    Finding,
    Strike,
    load_confirmed,
    load_plans,
    load_runs,
    ordered_stops,
)
from chaos.judging.schedules import Fired, Scheduled
from chaos.notes import read_changes, read_given, read_held, read_stamps, read_ticks
from chaos.sharing.streams import Sizes
from chaos.stage import MAX_UNSETTLED, Wishes

FILE = "found.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that the notes do not hold.

    Attributes:
        failed: faults that could not be done.
        cancelled: the jobs that the ledger knows as cancelled.
        arrived: when the brokers took the records of unique jobs, by the machine's monotonic clock.
        lost: the partitions that workers have lost, by their logs.
        fired: the jobs of schedules; all that were due up to `until_at_s` were waited for.
        took_s: how long the run was, with its set-up.
    """

    wishes: Wishes
    strikes: Sequence[Strike]
    dead_letters: Sequence[DeadLetter]
    waiting: Sequence[int]
    effects: dict[int, int]
    failed: Sequence[Finding] = field(default_factory=list)
    standing: Sequence[str] = ()
    audited: Sequence[str] = ()
    cancelled: Sequence[int] = ()
    lost: Sequence[Strike] = ()
    fired: Sequence[Fired] = ()
    arrived: dict[int, list[float]] = field(default_factory=dict)
    until_at_s: float = 0.0
    took_s: float

    def save(self, folder: Path) -> None:
        """Keep it."""
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Found:
        """What `save` has kept."""
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(
            wishes=_wishes(content["wishes"]),
            strikes=[Strike(**fields) for fields in content["strikes"]],
            dead_letters=[DeadLetter(**fields) for fields in content["dead_letters"]],
            waiting=content["waiting"],
            effects={int(number): count for number, count in content["effects"].items()},
            failed=[Finding(**fields) for fields in content["failed"]],
            standing=content["standing"],
            audited=content["audited"],
            cancelled=content["cancelled"],
            lost=[Strike(**fields) for fields in content.get("lost", ())],
            fired=[Fired(**fields) for fields in content["fired"]],
            arrived={int(number): times for number, times in content["arrived"].items()},
            until_at_s=content["until_at_s"],
            took_s=content["took_s"],
        )

    def account(self, folder: Path) -> Account:
        """Everything together."""
        confirmed = load_confirmed(folder)
        runs = load_runs(folder)
        start = Strike(kind="start", after=0, begin_s=runs[0].start_s, end_s=runs[0].start_s) if runs else None
        strikes = [*self.strikes, *([start] if start else []), *ordered_stops(folder), *self.lost]
        jumps = [(strike.begin_s, strike.end_s) for strike in self.strikes if strike.kind == "jump_clock"]
        return Account(
            plans=load_plans(self.wishes.seed, self.wishes.jobs),
            runs=runs,
            confirmed={number: len(times) for number, times in confirmed.items()},
            first_confirmed_s={number: times[0] for number, times in confirmed.items()},
            enqueued_until_at_s=max((times[-1] for times in confirmed.values()), default=0.0),
            strikes=sorted(strikes, key=lambda done: done.begin_s),
            dead_letters=self.dead_letters,
            waiting=frozenset(self.waiting),
            effects=self.effects,
            ended=ended_processes(folder),
            max_in_flight=MAX_UNSETTLED,
            held=list(read_held(folder)),
            given=sorted(read_given(folder), key=lambda held: held.from_s),
            cancelled=frozenset(self.cancelled),
            stamps=read_stamps(folder),
            scheduled=Scheduled(
                fired=self.fired,
                changes=read_changes(folder),
                ticks=read_ticks(folder),
                until_at_s=self.until_at_s,
                jumps=jumps,
            ),
            arrived=self.arrived,
            standing=self.standing,
            audited=self.audited,
        )


def _wishes(content: dict[str, Any]) -> Wishes:
    limits = Sizes(**content.get("limits", {}))
    return Wishes(**{**content, "kinds": tuple(content["kinds"]), "limits": limits})


def look(
    stage: Stage,
    wishes: Wishes,
    strikes: Sequence[Strike],
    failed: Sequence[Finding],
    *,
    until_at_s: float,
    took_s: float,
) -> Found:
    """Read topics and database, once the workers have ended."""
    reader, orders = Reader(stage.nodes.direct), OrderReader(stage.nodes.direct)
    return Found(
        wishes=wishes,
        strikes=strikes,
        dead_letters=[dead_letter for queue in stage.queues for dead_letter in reader.dead_letters(queue)],
        waiting=[number for queue in stage.queues for number in reader.waiting(queue)],
        effects=count_effects(stage.database),
        failed=failed,
        standing=orders.standing(),
        audited=orders.audited(),
        cancelled=sorted(number for queue in stage.queues for number in reader.cancelled(queue)),
        lost=list(lost_partitions(stage.folder, time.time() - time.monotonic(), strikes)),
        fired=reader.fired(stage.clock),
        arrived=reader.arrived(stage.alone),
        until_at_s=until_at_s,
        took_s=took_s,
    )
