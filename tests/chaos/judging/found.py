"""What was found on the topics and in the database at the end of a run, kept beside the notes: so that a run can be
judged again, by checks that have become stricter, when its cluster is long gone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chaos.cluster.orders import OrderReader
from chaos.cluster.topics import Reader
from chaos.faults import Stage
from chaos.fleet.effects import count_effects
from chaos.fleet.logs import ended_processes
from chaos.judging.account import Account, DeadLetter, Finding, Strike, load_confirmed, load_plans, load_runs
from chaos.notes import read_held
from chaos.stage import MAX_UNSETTLED, Wishes

FILE = "found.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that the notes do not hold.

    Attributes:
        failed: faults that could not be done.
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
    took_s: float

    def save(self, folder: Path) -> None:
        """Keep it."""
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Found:
        """What `save` has kept."""
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(
            wishes=Wishes(**{**content["wishes"], "kinds": tuple(content["wishes"]["kinds"])}),
            strikes=[Strike(**fields) for fields in content["strikes"]],
            dead_letters=[DeadLetter(**fields) for fields in content["dead_letters"]],
            waiting=content["waiting"],
            effects={int(number): count for number, count in content["effects"].items()},
            failed=[Finding(**fields) for fields in content["failed"]],
            standing=content["standing"],
            audited=content["audited"],
            took_s=content["took_s"],
        )

    def account(self, folder: Path) -> Account:
        """Everything together."""
        confirmed, enqueued_until_s = load_confirmed(folder)
        runs = load_runs(folder)
        start = Strike(kind="start", after=0, begin_s=runs[0].start_s, end_s=runs[0].start_s) if runs else None
        strikes = [*self.strikes, *([start] if start else [])]
        return Account(
            plans=load_plans(self.wishes.seed, self.wishes.jobs),
            runs=runs,
            confirmed=confirmed,
            enqueued_until_s=enqueued_until_s,
            strikes=sorted(strikes, key=lambda done: done.begin_s),
            dead_letters=self.dead_letters,
            waiting=frozenset(self.waiting),
            effects=self.effects,
            ended=ended_processes(folder),
            max_in_flight=MAX_UNSETTLED,
            held=list(read_held(folder)),
            standing=self.standing,
            audited=self.audited,
        )


def look(stage: Stage, wishes: Wishes, strikes: Sequence[Strike], failed: Sequence[Finding], took_s: float) -> Found:
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
        took_s=took_s,
    )
