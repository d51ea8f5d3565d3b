"""`Source`: where a record comes from decides which consumer reads it, whether it waits, and what waits for it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, get_args

from stoker.consumers.sources.source import CARRIED, MAIN, Delay, Priority, Reader, Source, Tier, sources_of
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.declaration.priorities import NORMAL
from support.scenes.deliveries import TIERS, declare

ROOT: Final = Path(__file__).parents[3]
NONE: Final = timedelta(0)
KINDS: Final = get_args(Source)


def answers(source: Source) -> tuple[Any, ...]:
    """All that follows from a source."""
    own = source.is_delayed, source.goes_ahead, source.is_beside_main, source.has_copies
    return source.reader, source.delay, *own, source.priority


def test_every_topic_of_a_queue_that_holds_jobs_is_a_source() -> None:
    """The main topic comes first, then tiers, delays and the carried topic; ledger and dead letters are none."""
    queue = declare().queue
    tiers = {queue.retry_topics[delay]: Tier(delay) for delay in TIERS}
    delays = {f"{queue.topic}.delay.{name}": Delay(name) for name in DelayClass}
    assert list(sources_of(queue).items()) == [
        (queue.topic, MAIN),
        *tiers.items(),
        *delays.items(),
        (queue.carried_topic, CARRIED),
    ]
    assert list(sources_of(queue)) == queue.job_topics


def test_what_follows_from_a_source_is_what_its_table_states() -> None:
    """What waits is read beside the group, until it is due, and holds back its keys in strict order."""
    high = Priority("high")
    assert answers(MAIN) == (Reader.GROUP, NONE, False, False, False, False, NORMAL)
    assert answers(high) == (high, NONE, False, False, True, False, "high")
    assert answers(CARRIED) == (Reader.SIDE, NONE, False, False, False, True, None)
    assert answers(Tier(TIERS[0])) == (Reader.SIDE, TIERS[0], True, True, False, False, None)
    assert answers(Delay(DelayClass.LONG)) == (Reader.SIDE, NONE, True, True, False, False, None)


def test_no_part_of_the_worker_asks_which_class_a_source_is() -> None:
    """A new kind of source answers the questions of `Source`, and all parts go by the answers.

    The main topic alone is asked for by its name, `MAIN`: a queue has one, and heavy tenants are only there. And
    `declared/intake_features.py` has a line for each kind, which the type checker asks for.
    """
    names = "|".join(kind.__name__ for kind in KINDS)
    asks = re.compile(rf"isinstance\([^\n]*\b({names})\b|\bcase ({names})\b|\bis (not )?CARRIED\b")
    asking = [
        path.relative_to(ROOT / "consumers").as_posix()
        for path in (ROOT / "consumers").rglob("*.py")
        if asks.search(path.read_text("utf-8"))
    ]
    assert asking == ["declared/intake_features.py"]


def test_events_of_blockers_name_the_topic_as_its_name_does() -> None:
    """So a reader finds it among the topics."""
    assert (dict(MAIN.detail), dict(Tier(TIERS[1]).detail)) == ({}, {"tier": "10s"})
    assert dict(Delay(DelayClass.SHORT).detail) == {"delay": "short"}
