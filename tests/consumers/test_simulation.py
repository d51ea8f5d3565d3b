"""The worker's core keeps its guarantees in whatever order things happen: thousands of interleavings, without I/O.

Everything between librdkafka and the handlers is the worker's own code; threads, clients and the clock are simulated
(`tests/simulation/`). After each step it is held against an account of what truly happened: nothing acknowledged is
lost; nothing is committed whose outcome is not durable; what was complete or done does not run again; keys keep their
order, in a strict queue through retries as well; no job is early; no attempt is lost or invented; jobs that kill what
they run in are quarantined, before they have killed many, and nobody else is; records that no topic takes as they are
end in the dead letters; those of an unknown schema wait while it cannot be asked for, others while their gate is
closed; no job begins that an order holds back or cancels which its process has answered, and all go on when it is
lifted; no window of a limit holds more begins than it allows; one job of all processes probes while a breaker is
half-open; all counts return to zero. In every play the events' topic is silent for good: what may run, runs all the
same.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from simulation.machine import WorkerMachine
from simulation.search import play_seed
from simulation.world import Shape

pytestmark = [
    pytest.mark.usefixtures("simulated_time", "small_parts"),
    pytest.mark.timeout(300),  # all of it is computing, and a busy machine has little left for that
    pytest.mark.expected_errors(
        "cannot be written",
        "cannot be carried forward to unit.q.carried: Local: ",
        "that waited are not in",
        "characters of metadata with commits",
    ),
]
"""What is gone was complete for the group; an owner that was cut off may wait for it still. Losses are found out."""

SHAPES = {
    "ordering by key": Shape(is_watched=True),
    "no ordering": Shape(ordering="none"),
    "strict ordering": Shape(ordering="strict"),
    "progress that is spilled": Shape(spills_beyond=0),
    "strict ordering, progress that is spilled": Shape(ordering="strict", spills_beyond=0),
    "progress that is spilled now and then, a ledger that forgets": Shape(spills_beyond=1, is_forgetful=True),
    "offsets that go back": Shape(goes_back=True, is_watched=True),
    "strict ordering, offsets that go back, large jobs": Shape(goes_back=True, ordering="strict", large_every=3),
    "offsets that go back, progress that is spilled": Shape(goes_back=True, spills_beyond=0),
    "offsets that go back, jobs that kill processes": Shape(goes_back=True, deadly_every=4),
    "a ledger that forgets": Shape(is_forgetful=True),
    "brokers that take little metadata": Shape(metadata_limit=30),
    "a registry that is away, and topics that refuse large records": Shape(newer_every=2, large_every=3),
    "the same with strict ordering": Shape(ordering="strict", newer_every=3, large_every=2),
    "jobs that kill processes": Shape(deadly_every=4),
    "outcomes that write a second record": Shape(is_followed=True),
    "a second record in strict order, and large ones": Shape(
        is_followed=True, ordering="strict", large_every=4, is_watched=True
    ),
    "strict ordering, jobs that kill processes": Shape(ordering="strict", deadly_every=4),
    "gates that hold back and let pass, jobs that kill processes": Shape(
        is_gated=True, deadly_every=6, is_watched=True
    ),
    "strict ordering, gates that hold back and let pass, a registry that is away": Shape(
        ordering="strict", is_gated=True, newer_every=3
    ),
    "limits, a breaker, gates that hold back and let pass": Shape(
        is_limited=True, has_breaker=True, is_gated=True, is_watched=True
    ),
    "limits that orders change": Shape(is_limited=True, is_ordered=True, deadly_every=6),
    "no ordering, limits, offsets that go back": Shape(ordering="none", is_limited=True, goes_back=True),
    "strict ordering, limits, a breaker, records that are soon too old": Shape(
        ordering="strict", is_limited=True, has_breaker=True, is_short_lived=True, deadly_every=6
    ),
    "tenants that share the runners, limits, orders of control": Shape(
        is_fair=True, is_limited=True, is_ordered=True, is_watched=True, deadly_every=6
    ),
    "strict ordering, tenants that share the runners, records that are soon too old": Shape(
        ordering="strict", is_fair=True, is_short_lived=True, goes_back=True
    ),
    "records that are soon too old": Shape(is_short_lived=True, is_gated=True, is_watched=True),
    "strict ordering, records that are soon too old": Shape(
        is_short_lived=True, is_gated=True, ordering="strict", large_every=4
    ),
    "priorities, gates that hold back and let pass, jobs that kill processes": Shape(
        has_priorities=True, is_gated=True, deadly_every=6, newer_every=5, is_watched=True
    ),
    "priorities, records that are soon too old, offsets that go back": Shape(
        has_priorities=True, is_short_lived=True, is_gated=True, goes_back=True
    ),
    "priorities, orders of control, no ordering": Shape(has_priorities=True, is_ordered=True, ordering="none"),
    "orders of control": Shape(is_ordered=True, is_watched=True),
    "strict ordering, orders of control, jobs that kill processes": Shape(
        ordering="strict", is_ordered=True, deadly_every=6
    ),
    "orders of control, records that are soon too old": Shape(is_ordered=True, is_short_lived=True, is_gated=True),
    "no ordering, orders of control, a registry that is away": Shape(
        ordering="none", is_ordered=True, newer_every=3, large_every=4
    ),
    "records that are soon too old, a ledger that forgets": Shape(
        is_short_lived=True, is_gated=True, is_forgetful=True, spills_beyond=1
    ),
}
SEEDS = 100
SEEDS_A_TEST = 20
"""So few that a test ends within pytest's limit on a machine that does much else."""
SOAK_SEEDS = 5_000
EXAMPLES = 20
PARTS = 2
"""Tests among which the examples are shared, for the same reason."""
all_shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


@all_shapes
@pytest.mark.parametrize("_part", range(PARTS))
def test_every_guarantee_holds_whatever_happens_next(shape: Shape, _part: int) -> None:
    """Hypothesis chooses, and cuts down what it finds."""

    class Machine(WorkerMachine):
        """In a world of this shape."""

    Machine.shape = shape
    options = settings(
        max_examples=EXAMPLES // PARTS, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Machine, settings=options)


@all_shapes
@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_every_guarantee_holds_for_seeds_that_reach_far(shape: Shape, first: int) -> None:
    """Plays of 40 commands, some 230 steps each; a seed that fails is reported with the fewest commands that do it."""
    for seed in range(first, first + SEEDS_A_TEST):
        play_seed(shape, seed)


@pytest.mark.soak
@all_shapes
def test_every_guarantee_holds_for_tens_of_thousands_of_seeds(shape: Shape) -> None:
    """The same for long."""
    for seed in range(SEEDS, SEEDS + SOAK_SEEDS):
        play_seed(shape, seed)
