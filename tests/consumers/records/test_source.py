"""`Source`: where a record comes from decides which consumer reads it, whether it waits, and what waits for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from stoker.consumers.records.source import MAIN, Reader, Source, Tier, sources_of
from support.scenes.deliveries import TIERS, declare

ROOT: Final = Path(__file__).parents[3]


def answers(source: Source) -> tuple[Any, ...]:
    """All that follows from a source."""
    return source.reader, source.delay, source.is_delayed, source.goes_ahead


def test_every_topic_of_a_queue_that_holds_jobs_is_a_source() -> None:
    """The main topic comes first, and each tier knows its delay; ledger, progress and dead letters are none."""
    queue = declare().queue
    expected = {queue.topic: MAIN, **{queue.retry_topics[delay]: Tier(delay) for delay in TIERS}}
    assert list(sources_of(queue).items()) == list(expected.items())


def test_what_follows_from_a_source_is_what_its_table_states() -> None:
    """Jobs of a tier are read beside the group, wait until they are due, and hold back their keys in strict order."""
    assert answers(MAIN) == (Reader.GROUP, None, False, False)
    assert answers(Tier(TIERS[0])) == (Reader.TIERS, TIERS[0], True, True)


def test_no_part_of_the_worker_asks_which_class_a_source_is() -> None:
    """A new kind of source answers the questions of `Source`, and all parts go by the answers."""
    asking = [
        path.name
        for path in (ROOT / "consumers").rglob("*.py")
        if re.search(r"isinstance\([^\n]*\b(Main|Tier)\b", path.read_text("utf-8"))
    ]
    assert not asking
