"""The verdict on what the queues that share have given: all of its checks, and the figures that are published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chaos.judging.account import Finding
from chaos.sharing.admission import broken_admissions
from chaos.sharing.calm import Calm
from chaos.sharing.ledger import CONFIRMED, REFUSED, Shared
from chaos.sharing.limits import LEAST_SEEN_S, Use, broken_limits, uses
from chaos.sharing.streams import USUAL, Sizes
from chaos.sharing.turns import MOST_BEFORE, broken_turns, lost_turns, passes


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedVerdict:
    """What a run has shown of limits, priorities, fairness and bounds.

    Attributes:
        jobs, refused: how many were confirmed, and refused.
        sizes: what the limits allow.
        passed: how many urgent jobs and jobs of small tenants came in calm times; and how many of them began within
            the bound.
    """

    findings: Sequence[Finding] = ()
    jobs: int = 0
    refused: int = 0
    uses: Sequence[Use] = ()
    sizes: Sizes = USUAL
    passed: tuple[int, int] = (0, 0)

    def count(self, *rules: str) -> int:
        """How many findings there are of some rules."""
        return sum(finding.rule in rules for finding in self.findings)

    def figures(self) -> Iterator[tuple[str, str]]:
        """For the report."""
        yield "jobs with limits, priorities, tenants or a bound", f"{self.jobs:,}"
        yield "refused, their queue being full", f"{self.refused:,}"
        yield "of these lost, or run though refused", f"{self.count('lost', 'refused'):,}"
        yield "limits: jobs/s of all, of a tenant; jobs of a key at once", ", ".join(str(self.sizes).split())
        yield "beyond a limit, or beyond what a full queue admits", f"{self.count('limit', 'admitted'):,}"
        for use in self.uses:
            yield f"used of the limit of {use.guarantee.job_type}, in calm times with work", _use(use)
        yield f"urgent or of small tenants: begun before {MOST_BEFORE} others", f"{self.passed[1]} of {self.passed[0]}"


def _use(use: Use) -> str:
    if use.seconds < LEAST_SEEN_S:
        return "-"
    back = "" if use.back_s is None else f"; again within {use.back_s:.1f} s of a kill alone"
    return f"{use.share:.0%}{back}"


NOTHING_SHARED: Final = SharedVerdict()


def judge_shared(shared: Shared) -> SharedVerdict:
    """Check everything that was shared."""
    calm, used = Calm(shared), uses(shared)
    passing = [count for job_type in ("ranked", "even") for count in passes(job_type, shared, calm)]
    return SharedVerdict(
        findings=[
            *lost_turns(shared),
            *broken_limits(shared),
            *(finding for use in used for finding in use.findings()),
            *broken_turns(shared),
            *broken_admissions(shared),
        ],
        jobs=sum(one.how == CONFIRMED for one in shared.asked),
        refused=sum(one.how == REFUSED for one in shared.asked),
        uses=used,
        sizes=shared.sizes,
        passed=(len(passing), sum(count <= MOST_BEFORE for count in passing)),
    )
