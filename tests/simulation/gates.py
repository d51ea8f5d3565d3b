"""`SimGate`: a gate that closes and opens by chance, for a key, with or without a time at which it is asked again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from simulation.virtual_time import CLOCK
from stoker.consumers.gates.gate import START, Closed, Gate, Start, Wait
from stoker.consumers.records.record import Record

PAUSE_S: Final = 3.0
KEYS: Final = (None, b"a", b"c")


@dataclass
class SimGate(Gate):
    """One process's; `shut` holds the keys that wait, with the time until which they do, or None."""

    shut: dict[bytes | None, float | None]

    @property
    def is_resting(self) -> bool:
        """Whether it is open for all keys."""
        return not self.shut

    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """Records of keys that are not shut may."""
        if record.key not in self.shut:
            return START
        until_s = self.shut[record.key]
        if until_s is not None and until_s <= now_s:
            return START
        return Wait(until_at_s=until_s, why=reason(record.key))

    def change(self, choice: int) -> list[Closed]:
        """Close for one key, or open it again; gives what is open by that."""
        key = KEYS[choice % len(KEYS)]
        if key in self.shut:
            del self.shut[key]
            return [reason(key)]
        self.shut[key] = CLOCK.time() + PAUSE_S if choice % 2 else None
        return []

    def open_all(self) -> list[Closed]:
        """Open for all; gives what is open by that."""
        opened = [reason(key) for key in self.shut]
        self.shut.clear()
        return opened


def reason(key: bytes | None) -> Closed:
    """Why records of this key wait."""
    return Closed("shut", f"chance opens {key!r}")
