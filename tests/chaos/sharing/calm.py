"""`Calm`: the times in which nothing hit the workers of a run, so that all that was guaranteed is theirs to keep."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from chaos.judging.account import HITS_ALL, MOVES_PARTITIONS, STOPPED_S, Strike
from chaos.notes import Held
from chaos.plan import SESSION_TIMEOUT
from chaos.sharing.ledger import Shared, Turn

BACK_S: Final = SESSION_TIMEOUT.total_seconds() + 2.0
"""So long after a process was killed, the limits are used again."""
BACK_FROM_ALL_S: Final = 15.0
"""The same after brokers or network were away, whose clients find their way back in steps."""
UNAWARE_S: Final = 5.0
"""So long after it was frozen or cut off, a process may begin jobs as before."""
LOST_S: Final = SESSION_TIMEOUT.total_seconds() - 1.5
"""A network that was away for so long may have cost a worker its partitions: its last heartbeat was before."""


class Calm:
    """Knows when nothing was amiss; `busy` are times without a free processor, where these count."""

    def __init__(self, shared: Shared, busy: Sequence[tuple[float, float]] = ()) -> None:
        self._troubled = _merged([*_troubled(shared), *busy])
        self._in_child = sorted(turn.start_s for turn in shared.turns if turn.child)
        self._strikes = shared.strikes

    def holds(self, from_s: float, until_at_s: float) -> bool:
        """Whether nothing was amiss all that time, and no job ran in a child, as suspects do, one at a time."""
        after = bisect_left(self._troubled, (until_at_s,))
        if after and self._troubled[after - 1][1] > from_s:
            return False
        first = bisect_left(self._in_child, from_s)
        return first == len(self._in_child) or self._in_child[first] >= until_at_s

    def is_aware(self, pid: int, at_s: float) -> bool:
        """Whether a process could know at that time what is its own: it was neither frozen nor cut off for long."""
        return not any(
            strike.begin_s <= at_s <= strike.end_s + UNAWARE_S
            for strike in self._strikes
            if (strike.kind == "pause_worker" and pid in strike.pids) or _is_long_cut(strike)
        )

    def outlives(self, turn: Turn) -> bool:
        """Whether a job ran on in a process that was frozen for so long meanwhile that others have its slots."""
        return any(
            strike.kind == "pause_worker"
            and turn.pid in strike.pids
            and turn.start_s <= strike.begin_s
            and turn.end_s > strike.begin_s + LOST_S
            for strike in self._strikes
        )


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same as spans that do not touch, ascending."""
    found: list[tuple[float, float]] = []
    for begin_s, end_s in sorted(spans):
        if found and begin_s <= found[-1][1]:
            found[-1] = (found[-1][0], max(end_s, found[-1][1]))
        else:
            found.append((begin_s, end_s))
    return found


def _is_long_cut(strike: Strike) -> bool:
    return strike.kind in HITS_ALL and strike.end_s - strike.begin_s >= LOST_S


def _troubled(shared: Shared) -> Iterator[tuple[float, float]]:
    for strike in shared.strikes:
        yield strike.begin_s, _end_of(strike)
    yield from (_span(held) for held in shared.quiet)


def _end_of(strike: Strike) -> float:
    if strike.kind in HITS_ALL:
        return strike.end_s + BACK_FROM_ALL_S
    if strike.kind == "order_stop":
        return strike.begin_s + STOPPED_S
    return strike.end_s + (BACK_S if strike.kind in MOVES_PARTITIONS or strike.kind.startswith("kill") else 0.0)


def _span(held: Held) -> tuple[float, float]:
    return held.from_s, held.until_at_s + BACK_S


def only_strike(strike: Strike, strikes: Sequence[Strike], within_s: float) -> bool:
    """Whether no other fault was at work from some time before it until so long after."""
    return not any(
        other is not strike and other.begin_s <= strike.begin_s + within_s and _end_of(other) >= strike.begin_s
        for other in strikes
    )
