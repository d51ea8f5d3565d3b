"""Unique jobs in whatever order things happen: the simulation of the worker, with an account of each identity.

Processes die and are cut off, partitions move, jobs fail, snooze, are delayed, and are published twice. Where one job
is in the way of another, no two run; whoever loses does so to a job that ran for it, or will; and all come to an end.
"""

from __future__ import annotations

import pytest

from simulation.oracles.uniqueness import MODES
from simulation.search import play_seed
from simulation.world import Shape

pytestmark = [
    pytest.mark.usefixtures("simulated_time", "small_parts"),
    pytest.mark.expected_errors(
        "cannot be written",
        "cannot be carried forward to unit.q.carried: Local: ",
        "that waited are not in",
    ),
]
SEEDS = 15
SOAK_SEEDS = 2_000
SHAPES = {
    "by key": Shape(),
    "strict": Shape(ordering="strict", large_every=4),
    "cancelled, and killing processes": Shape(is_ordered=True, deadly_every=6),
    "soon too old, behind gates": Shape(is_short_lived=True, is_gated=True),
    "of unknown schemas": Shape(newer_every=3, large_every=4),
}


def play(mode: str, shape: Shape, first: int, end: int) -> None:
    """Play some seeds with unique jobs in this shape."""
    fields = {name: getattr(shape, name) for name in Shape.__dataclass_fields__}
    for seed in range(first, end):
        play_seed(Shape(**{**fields, "unique": mode}), seed)


@pytest.mark.parametrize(("mode", "shape"), list(zip(MODES, SHAPES, strict=True)))
def test_one_of_an_identity_runs_whatever_happens_next(mode: str, shape: str) -> None:
    """Each mode in another shape; and in the plainest one."""
    play(mode, SHAPES["by key"], 0, SEEDS)
    play(mode, SHAPES[shape], SEEDS, 2 * SEEDS)


@pytest.mark.soak
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", MODES)
def test_one_of_an_identity_runs_for_thousands_of_seeds(mode: str, shape: str) -> None:
    """All modes in all shapes, for long."""
    play(mode, SHAPES[shape], 2 * SEEDS, SOAK_SEEDS)
