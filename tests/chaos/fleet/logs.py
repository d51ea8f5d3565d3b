"""What the processes said of themselves: worker processes that ended on their own, and a count of warnings and errors.

It explains findings and proves none: the checks are made with the outside ledger alone.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ENDED: Final = re.compile(r"worker process (\d+) ended on its own \(([^)]*)\)")
_NUMBERS: Final = re.compile(r"\d[\d.,:+TZ-]*|job-\d+|'[^']*'")
_LONGEST: Final = 110


def ended_processes(folder: Path) -> dict[int, str]:
    """{pid: how} of the worker processes that ended although nobody had told the fleet to stop."""
    found = (_ENDED.match(str(entry.get("message"))) for entry in _entries(folder))
    return {int(match[1]): match[2] for match in found if match}


def complaints(folder: Path) -> Counter[str]:
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
