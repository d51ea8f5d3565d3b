"""`Selection`: which stored jobs an operator means; the same filters for listing, replaying and discarding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

from ...topology.wire.headers import format_instant, parse_instant
from .stored_job import Ref, StoredJob, parse_ref

MIN_FINGERPRINT: Final = 4
"""Fewer digits of a fingerprint would name errors by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Filters on jobs; an empty filter lets everything pass, several values of one filter mean any of them.

    Attributes:
        job_types: names on the wire.
        fingerprints: of errors; the first digits are enough.
        error_types: class names, with or without their module.
        reasons: words of the `stoker-reason` header.
        keys, tenants, ids: ordering keys, tenants and job ids.
        refs: single records.
        partitions: partition numbers.
        since, until: bounds of the record's timestamp, `until` excluded.
        limit: at most so many; None takes all.
    """

    job_types: frozenset[str] = field(default_factory=frozenset)
    fingerprints: frozenset[str] = field(default_factory=frozenset)
    error_types: frozenset[str] = field(default_factory=frozenset)
    reasons: frozenset[str] = field(default_factory=frozenset)
    keys: frozenset[str] = field(default_factory=frozenset)
    tenants: frozenset[str] = field(default_factory=frozenset)
    ids: frozenset[str] = field(default_factory=frozenset)
    refs: frozenset[Ref] = field(default_factory=frozenset)
    partitions: frozenset[int] = field(default_factory=frozenset)
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None

    def faults(self) -> list[str]:
        """List what cannot be meant; empty when all is well."""
        found = [
            f"fingerprint {prefix!r} is too short: give at least {MIN_FINGERPRINT} of its digits"
            for prefix in sorted(self.fingerprints)
            if len(prefix) < MIN_FINGERPRINT
        ]
        if self.limit is not None and self.limit < 1:
            found.append(f"the limit must be at least 1; it is {self.limit}")
        if self.since is not None and self.until is not None and self.since >= self.until:
            found.append("since must be before until")
        return found

    def takes(self, record: StoredJob, places: Sequence[Ref] = ()) -> bool:
        """Whether the record is meant; the limit is the reader's to keep.

        Args:
            places: where the topic has it; a reference to any of them means it. Its own place alone, unless given.
        """
        is_named = not (self.refs or self.ids) or bool(self.refs & {record.ref, *places}) or record.job_id in self.ids
        return is_named and self._takes_place(record) and self._takes_job(record) and self._takes_error(record)

    def may_hold(self, partition: int) -> bool:
        """Whether the partition can hold a selected record, so that the others need not be read."""
        named = {ref.partition for ref in self.refs}
        ids_apart = bool(self.ids)  # a job named by id may lie in any partition
        return (not self.partitions or partition in self.partitions) and (not named or ids_apart or partition in named)

    def _takes_place(self, record: StoredJob) -> bool:
        return (
            (not self.partitions or record.ref.partition in self.partitions)
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at < self.until)
        )

    def _takes_job(self, record: StoredJob) -> bool:
        return (
            (not self.job_types or record.job_type in self.job_types)
            and (not self.keys or record.key_text in self.keys)
            and (not self.tenants or record.tenant in self.tenants)
        )

    def _takes_error(self, record: StoredJob) -> bool:
        return (
            (not self.reasons or record.reason in self.reasons)
            and (not self.error_types or bool({record.error_type, _last_part(record.error_type)} & self.error_types))
            and (not self.fingerprints or record.fingerprint.startswith(tuple(self.fingerprints)))
        )

    def in_words(self) -> dict[str, object]:
        """The filters in use, for audit records and messages; empty when everything is selected."""
        named: dict[str, object] = {
            "job_types": sorted(self.job_types),
            "fingerprints": sorted(self.fingerprints),
            "error_types": sorted(self.error_types),
            "reasons": sorted(self.reasons),
            "keys": sorted(self.keys),
            "tenants": sorted(self.tenants),
            "ids": sorted(self.ids),
            "refs": [str(ref) for ref in sorted(self.refs)],
            "partitions": sorted(self.partitions),
            "since": None if self.since is None else format_instant(self.since).decode(),
            "until": None if self.until is None else format_instant(self.until).decode(),
            "limit": self.limit,
        }
        return {name: value for name, value in named.items() if value not in ([], None)}

    @classmethod
    def from_words(cls, words: Mapping[str, Any]) -> Self:  # as JSON gives them
        """The selection that `in_words` describes."""
        instants = {name: parse_instant(words[name].encode()) for name in ("since", "until") if name in words}
        refs = frozenset(ref for ref in map(parse_ref, words.get("refs", ())) if ref is not None)
        plain = ("job_types", "fingerprints", "error_types", "reasons", "keys", "tenants", "ids", "partitions")
        sets: dict[str, frozenset[Any]] = {name: frozenset(words.get(name, ())) for name in plain}  # texts, or numbers
        limit: int | None = words.get("limit")
        return cls(**sets, refs=refs, limit=limit, since=instants.get("since"), until=instants.get("until"))


def _last_part(dotted: str) -> str:
    return dotted.rpartition(".")[2]
