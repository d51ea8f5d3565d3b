"""`Source`: where a record comes from decides which consumer reads it, whether it waits, and what waits for it."""

from __future__ import annotations

from typing import Any

from stoker.consumers.records.source import MAIN, Reader, Source, Tier, sources_of
from support.scenes.deliveries import TIERS, declare


def answers(source: Source) -> tuple[Any, ...]:
    """All that follows from a source."""
    return source.reader, source.is_delayed, source.goes_ahead


def test_every_topic_of_a_queue_that_holds_jobs_is_a_source() -> None:
    """The main topic comes first, and each tier knows its delay; ledger, progress and dead letters are none."""
    queue = declare().queue
    expected = {queue.topic: MAIN, **{queue.retry_topics[delay]: Tier(delay) for delay in TIERS}}
    assert list(sources_of(queue).items()) == list(expected.items())


def test_what_follows_from_a_source_is_what_its_table_states() -> None:
    """Jobs of a tier are read beside the group, wait until they are due, and hold back their keys in strict order."""
    assert answers(MAIN) == (Reader.GROUP, False, False)
    assert answers(Tier(TIERS[0])) == (Reader.TIERS, True, True)
