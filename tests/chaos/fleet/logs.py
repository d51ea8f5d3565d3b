"""What the processes said of themselves: worker processes that ended on their own, and a count of warnings and errors.

It explains findings and proves none: the checks are made with the outside ledger alone.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from chaos.judging.account import LOST, Strike
from chaos.plan import SESSION_TIMEOUT

_ENDED: Final = re.compile(r"worker process (\d+) ended on its own \(([^)]*)\)")
_NUMBERS: Final = re.compile(r"\d[\d.,:+TZ-]*|job-\d+|'[^']*'")
_LOST: Final = "partitions lost: "
UNSEEN_S: Final = 2 * SESSION_TIMEOUT.total_seconds()
"""A worker learns of the loss with its next heartbeat, at most so long after the last one that came in time."""
_LONGEST: Final = 110


def ended_processes(folder: Path) -> dict[int, str]:
    """{pid: how} of the worker processes that ended although nobody had told the fleet to stop."""
    found = (_ENDED.match(str(entry.get("message"))) for entry in _entries(folder))
    return {int(match[1]): match[2] for match in found if match}


def lost_partitions(folder: Path, behind_s: float, strikes: Sequence[Strike]) -> Iterator[Strike]:
    """The losses of partitions that workers have logged, as what explains runs.

    Args:
        behind_s: how far the machine's monotonic clock is behind its wall clock.
        strikes: the faults of the run; some move the clocks of workers.
    """
    for entry in _entries(folder):
        if str(entry.get("message")).startswith(_LOST):
            at_s = _true_s(datetime.fromisoformat(str(entry["ts"])).timestamp() - behind_s, strikes)
            topic, numbers = f"chaos.{entry['queue']}", cast("list[int]", entry["partitions"])
            places = [f"{topic}/{number}" for number in numbers]
            yield Strike(kind=LOST, after=0, begin_s=at_s - UNSEEN_S, end_s=at_s, places=places)


def _true_s(said_s: float, strikes: Sequence[Strike]) -> float:
    """The time of a line that may have been written while the clocks were moved."""
    for strike in strikes:
        if strike.kind == "jump_clock":
            moved_s = said_s - float(strike.detail.split()[1])
            if strike.begin_s <= moved_s <= strike.end_s:
                return moved_s
    return said_s


def warnings_of(folder: Path) -> Counter[str]:
    """{level and message with its particulars left out: how often}."""
    counts: Counter[str] = Counter()
    for entry in _entries(folder):
        if entry.get("level") in ("warning", "error", "critical"):
            said = _NUMBERS.sub("…", str(entry.get("message")))[:_LONGEST]
            counts[f"{entry['level']} {entry.get('logger')}: {said}"] += 1
    return counts


def _entries(folder: Path) -> Iterator[dict[str, object]]:
    for path in sorted(folder.glob("fleet*.log")):
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("{"):
                    try:
                        yield json.loads(line)
                    except ValueError:
                        continue  # a line cut short by a kill
