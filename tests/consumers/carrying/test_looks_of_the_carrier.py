"""The carrier asks how old records are again and again, whatever becomes of the host's clock."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from stoker.consumers.carrying.carrier import LOOKS, Carrier, CarryingClients
from stoker.topology import Pipeline
from support.scenes.deliveries import NOW_S

QUEUE = Pipeline("shop").queue("mails", retention=timedelta(days=4))
LOOK_S = timedelta(days=4).total_seconds() / LOOKS


class Ages:
    """The brokers, which name no old record; `asked` counts the questions."""

    def __init__(self) -> None:
        self.asked = 0

    def ask(self, assignments: object, before_ms: int) -> None:
        """Count it."""
        self.asked += 1

    def pop(self) -> dict[Any, int]:
        """Nothing is old."""
        return {}


class Looking:
    """A carrier with a job that waits, and its clock."""

    def __init__(self) -> None:
        waiting = SimpleNamespace(is_running=True, progress=SimpleNamespace(incomplete=1))
        lanes = SimpleNamespace(backlog=None, lines=None, waiting=1)
        self.ages, self.now_s = Ages(), NOW_S
        self._carrier = Carrier(
            QUEUE,
            cast(Any, SimpleNamespace(all=lambda: [waiting])),
            cast(Any, lanes),
            cast(Any, SimpleNamespace()),
            cast(Any, None),
            clients=CarryingClients(ages=cast(Any, self.ages), make_producer=cast(Any, None)),
            clock=lambda: self.now_s,
        )

    def asked_at(self, now_s: float) -> int:
        """How often it has asked, once it has had its turns at this time."""
        self.now_s = now_s
        for _ in range(3):
            self._carrier.turn()
        return self.ages.asked


def test_it_looks_once_in_each_part_of_the_retention() -> None:
    """Not in each turn."""
    looking = Looking()
    assert [looking.asked_at(NOW_S + part * LOOK_S) for part in (0, 0.5, 0.9, 1.0, 1.5, 2.0)] == [1, 1, 1, 2, 2, 3]


def test_it_goes_on_once_a_clock_that_was_ahead_is_set_back() -> None:
    """Else what waits would not be carried until the clock has come so far again, and the brokers would delete it."""
    looking = Looking()
    assert looking.asked_at(NOW_S + 100 * LOOK_S) == 1
    assert looking.asked_at(NOW_S) == 2
    assert looking.asked_at(NOW_S + LOOK_S) == 3
