"""`ReaderParts`: the consumers beside that of the group, which read what it leaves paused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..backlog.rereader import SWEEP_OPTIONS, Rereader
from ..kafka.clients import make_reader
from ..kafka.side_readers import PriorityReaders, SideReader
from ..sources.source import Priority
from .queue_context import QueueContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderParts:
    """`side_reader` reads the waiting topics, `priorities` one topic each, `rereader` what waits aside."""

    side_reader: SideReader
    priorities: PriorityReaders
    rereader: Rereader

    def close(self) -> None:
        """Disconnect them all."""
        self.side_reader.close()
        self.priorities.close()
        self.rereader.close()


def make_readers(context: QueueContext) -> ReaderParts:
    """Make them; they read nothing yet."""
    make = partial(make_reader, context.cluster, context.queue)
    priorities = {
        Priority(name): SideReader(make(f"{context.worker_id}-{name}", {})) for name in context.queue.priority_topics
    }
    return ReaderParts(
        side_reader=SideReader(make(f"{context.worker_id}-side", {})),
        priorities=PriorityReaders(priorities),
        rereader=Rereader(make(f"{context.worker_id}-rereader", SWEEP_OPTIONS)),
    )
