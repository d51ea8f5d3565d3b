"""`ProcessSettings` and `ProcessBeat`: the supervisor and its Faust process write each other a JSON line with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ...topology import ClusterSettings
from ...topology.cluster.settings import Option


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """The settings of a Faust process; they have secrets, so they go through a pipe.

    Attributes:
        group: its consumer group, and `member` its name there, which stays over restarts.
        stats_partitions: how many the topic `stats` has.
        log_level: of `logging`; `log_json` for lines of JSON.
    """

    bootstrap_servers: str
    options: Mapping[str, Option]
    events: str
    stats: str
    stats_partitions: int
    group: str
    member: str
    log_level: str = "warning"
    log_json: bool = False

    @property
    def cluster(self) -> ClusterSettings:
        """How Stoker's own clients connect."""
        return ClusterSettings(bootstrap_servers=self.bootstrap_servers, options=self.options)

    def to_line(self) -> bytes:
        """The line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> ProcessSettings:
        """Read the line."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessBeat:
    """A Faust process is well: its snapshot was confirmed by the brokers.

    Attributes:
        positions: {events partition of this process: all events below are counted and written}.
        events, jobs, unreadable, outside: since its start, as in `FoldCounts`.
    """

    positions: Mapping[int, int] = field(default_factory=dict)
    events: int = 0
    jobs: int = 0
    unreadable: int = 0
    outside: int = 0

    def to_line(self) -> str:
        """The line."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> ProcessBeat | None:
        """Read a line; None of one that is something else, such as what a library prints."""
        try:
            found = json.loads(line)
            return cls(**{**found, "positions": {int(number): at for number, at in found["positions"].items()}})
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
