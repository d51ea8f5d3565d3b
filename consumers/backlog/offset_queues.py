"""`OffsetQueues`: a queue of numbers for each of very many lanes, in few bytes: 12 a number, and some 30 a lane."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

SHARDS: Final = 64
"""A table that grows is built anew, which takes a while: one of many small ones takes a short while."""
SMALLEST: Final = 8
FULL_AT: Final = 0.6
LONG_WALK: Final = 64
"""Entries of a lane: beyond so many, a search begins where the last one of the lane has ended."""
_NONE: Final = 0xFFFF_FFFF
_HASH_BITS: Final = (1 << 64) - 1


class OffsetQueues:
    """First in, first out, by lane. A lane is known by a 64-bit hash; two lanes of one hash share a queue.

    >>> queues = OffsetQueues()
    >>> for number in (5, 7, 9): queues.append(42, number)
    >>> queues.popleft(42), 42 in queues, 43 in queues, len(queues)
    (5, True, False, 2)
    >>> queues.prepend(42, [1, 3]); queues.pop(42, 3)
    [1, 3, 7]
    >>> queues.append(42, 11); queues.replace(42, 9, 8); queues.pop(42, 3)
    [8, 11]
    """

    __slots__ = ("_count", "_shards")

    def __init__(self) -> None:
        self._shards = [_Shard() for _ in range(SHARDS)]
        self._count = 0

    def __len__(self) -> int:
        """How many numbers there are in all queues."""
        return self._count

    @property
    def lanes(self) -> int:
        """How many lanes have a queue."""
        return sum(shard.lanes for shard in self._shards)

    def __contains__(self, lane: int) -> bool:
        return self._shards[lane % SHARDS].find(lane) >= 0

    def append(self, lane: int, number: int) -> None:
        """Add a number at the end of its lane's queue."""
        self._shards[lane % SHARDS].append(lane, number)
        self._count += 1

    def extend(self, lane: int, numbers: Collection[int]) -> None:
        """Add numbers, in this order, at the end of their lane's queue."""
        self._shards[lane % SHARDS].extend(lane, numbers)
        self._count += len(numbers)

    def prepend(self, lane: int, numbers: Iterable[int]) -> None:
        """Add numbers, in this order, ahead of all others of the lane."""
        in_order = list(numbers)
        for number in reversed(in_order):
            self._shards[lane % SHARDS].prepend(lane, number)
        self._count += len(in_order)

    def popleft(self, lane: int) -> int | None:
        """Take out the first number of a lane; None where it has no queue."""
        taken = self.pop(lane, 1)
        return taken[0] if taken else None

    def pop(self, lane: int, limit: int) -> list[int]:
        """Take out the first numbers of a lane, `limit` at the most."""
        taken = self._shards[lane % SHARDS].pop(lane, limit)
        self._count -= len(taken)
        return taken

    def has(self, lane: int, number: int) -> bool:
        """Whether a number is in its lane's queue.

        In a long queue, the search goes on where the last one has ended: so numbers in their order take a step each.
        """
        return self._shards[lane % SHARDS].entry_of(lane, number) != _NONE

    def replace(self, lane: int, number: int, by: int) -> None:
        """Put a number in the place of one that is in its lane's queue."""
        self._shards[lane % SHARDS].replace(lane, number, by)

    def __iter__(self) -> Iterator[int]:
        """All numbers; those of a lane in their order."""
        for shard in self._shards:
            yield from shard

    @property
    def parts(self) -> range:
        """The numbers of its parts, each of which has some of the lanes."""
        return range(len(self._shards))

    def part(self, part: int) -> Iterator[tuple[int, int]]:
        """The numbers of one part with their lanes, as `hash` gives those."""
        for lane, number in self._shards[part].items():
            yield lane - (lane >> 63 << 64), number

    def items(self) -> Iterator[tuple[int, int]]:
        """All numbers with their lanes."""
        return (item for part in self.parts for item in self.part(part))

    def discard(self, is_gone: Callable[[int], bool]) -> None:
        """Take out all numbers for which this is true; it walks through all queues, 1,000,000 numbers in a second."""
        for at, shard in enumerate(self._shards):
            if shard.lanes:
                self._shards[at] = shard.without(is_gone)
        self._count = sum(shard.numbers for shard in self._shards)


class _Shard:
    """A hash table by open addressing, whose entries point to the ends of linked lists; all of it in arrays."""

    __slots__ = ("_cursors", "_first", "_free", "_hashes", "_last", "_mask", "_next", "_numbers", "lanes", "numbers")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        """Hold nothing, in no memory that counts."""
        self.lanes = self.numbers = 0
        self._numbers = array("Q")
        self._next = array("I")
        self._free = _NONE
        self._cursors: dict[int, int] = {}
        self._make_table(SMALLEST)

    def _make_table(self, size: int) -> None:
        self._mask = size - 1
        self._hashes = array("Q", bytes(8 * size))
        self._first = array("I", b"\xff" * (4 * size))  # without a first number, a cell is free
        self._last = array("I", bytes(4 * size))

    def find(self, lane: int) -> int:
        """The cell of a lane in the table; -1 where it has none."""
        wanted, at = lane & _HASH_BITS, self._home(lane)
        hashes, first = self._hashes, self._first
        while first[at] != _NONE:
            if hashes[at] == wanted:
                return at
            at = (at + 1) & self._mask
        return -1

    def _home(self, lane: int) -> int:
        """Where the search for a lane begins; the lowest bits have chosen the shard."""
        return (lane // SHARDS) & self._mask

    def append(self, lane: int, number: int) -> None:
        """Add a number at the end of its lane's list."""
        entry, at = self._make_entry(number), self.find(lane)
        if at >= 0:
            self._next[self._last[at]] = entry
            self._last[at] = entry
        else:
            self._add_lane(lane & _HASH_BITS, entry, entry)

    def extend(self, lane: int, numbers: Collection[int]) -> None:
        """Add numbers at the end of their lane's list: into free entries first, and the rest in a row of new ones."""
        left = iter(numbers)
        for number in left:
            self.append(lane, number)
            if self._free == _NONE:
                break
        first = len(self._numbers)
        self._numbers.extend(left)
        end = len(self._numbers)
        if first < end:
            self.numbers += end - first
            self._next.extend(range(first + 1, end))
            self._next.append(_NONE)
            at = self.find(lane)
            self._next[self._last[at]], self._last[at] = first, end - 1

    def prepend(self, lane: int, number: int) -> None:
        """Add a number at the beginning of its lane's list."""
        entry, at = self._make_entry(number), self.find(lane)
        if at >= 0:
            self._next[entry] = self._first[at]
            self._first[at] = entry
        else:
            self._add_lane(lane & _HASH_BITS, entry, entry)

    def pop(self, lane: int, limit: int) -> list[int]:
        """Take out the first numbers of a lane."""
        taken: list[int] = []
        at = self.find(lane)
        if at < 0 or limit <= 0:
            return taken
        numbers, following, cursor = self._numbers, self._next, self._cursors.get(lane, _NONE)
        entry = self._first[at]
        while entry != _NONE and len(taken) < limit:
            taken.append(numbers[entry])
            if entry == cursor:
                del self._cursors[lane]
            following[entry], self._free, entry = self._free, entry, following[entry]
        self.numbers -= len(taken)
        if entry != _NONE:
            self._first[at] = entry
        else:
            self._remove_lane(at)
        return taken

    def entry_of(self, lane: int, number: int) -> int:
        """The entry of a number in its lane's list; `_NONE` where it has none."""
        at = self.find(lane)
        if at < 0:
            return _NONE
        found, _ = self._search(self._cursors.get(lane, _NONE), number)
        if found == _NONE:
            found, steps = self._search(self._first[at], number)
            if steps < LONG_WALK:
                return found
        if found != _NONE:
            self._cursors[lane] = found
        return found

    def _search(self, entry: int, number: int) -> tuple[int, int]:
        """Walk along a list; returns the entry of the number, and how many steps that took."""
        numbers, following, steps = self._numbers, self._next, 0
        while entry != _NONE and numbers[entry] != number:
            entry = following[entry]
            steps += 1
        return entry, steps

    def replace(self, lane: int, number: int, by: int) -> None:
        """Put a number in the place of another one."""
        self._numbers[self.entry_of(lane, number)] = by

    def without(self, is_gone: Callable[[int], bool]) -> _Shard:
        """A copy without the numbers that are gone."""
        kept = _Shard()
        for lane, first in zip(self._hashes, self._first, strict=True):
            for number in self._list_from(first):
                if not is_gone(number):
                    kept.append(lane, number)
        return kept

    def __iter__(self) -> Iterator[int]:
        for entry in self._first:
            yield from self._list_from(entry)

    def items(self) -> Iterator[tuple[int, int]]:
        """All numbers with their lanes, unsigned."""
        for lane, first in zip(self._hashes, self._first, strict=True):
            for number in self._list_from(first):
                yield lane, number

    def _list_from(self, entry: int) -> Iterator[int]:
        while entry != _NONE:
            yield self._numbers[entry]
            entry = self._next[entry]

    def _make_entry(self, number: int) -> int:
        self.numbers += 1
        entry = self._free
        if entry == _NONE:
            self._numbers.append(number)
            self._next.append(_NONE)
            return len(self._numbers) - 1
        self._free = self._next[entry]
        self._numbers[entry], self._next[entry] = number, _NONE
        return entry

    def _add_lane(self, wanted: int, first: int, last: int) -> None:
        if self.lanes >= FULL_AT * (self._mask + 1):
            self._grow()
        self._place(wanted, first, last)
        self.lanes += 1

    def _place(self, wanted: int, first: int, last: int) -> None:
        at = self._home(wanted)
        while self._first[at] != _NONE:
            at = (at + 1) & self._mask
        self._hashes[at], self._first[at], self._last[at] = wanted, first, last

    def _grow(self) -> None:
        former = zip(self._hashes, self._first, self._last, strict=True)
        self._make_table(2 * (self._mask + 1))
        for wanted, first, last in former:
            if first != _NONE:
                self._place(wanted, first, last)

    def _remove_lane(self, at: int) -> None:
        """Free a cell, and move up those behind it that a search would no longer find."""
        self.lanes -= 1
        self._first[at] = _NONE
        if not self.lanes:
            self._clear()
            return
        hole, at = at, (at + 1) & self._mask
        while self._first[at] != _NONE:
            if (at - self._home(self._hashes[at])) & self._mask >= (at - hole) & self._mask:
                self._hashes[hole], self._first[hole] = self._hashes[at], self._first[at]
                self._last[hole], self._first[at] = self._last[at], _NONE
                hole = at
            at = (at + 1) & self._mask
