"""How the tiers of a queue and of a retry policy may be given."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from stoker.topology import Pipeline, RetryPolicy

TIERS: Any = [timedelta(seconds=1), timedelta(seconds=5)]


def test_a_list_of_tiers_is_taken_like_a_tuple() -> None:
    """Queues and policies are keys of mappings; one with a list ended `enqueue` in a message about its hash."""
    of_list = Pipeline("shop").queue("mails", tiers=TIERS, retry=RetryPolicy(tiers=TIERS))
    of_tuple = Pipeline("shop").queue("mails", tiers=tuple(TIERS), retry=RetryPolicy(tiers=tuple(TIERS)))
    assert hash(of_list) == hash(of_tuple)
    assert of_list == of_tuple
