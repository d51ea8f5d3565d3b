"""`Owner`: who answers for a job, as its type declares it, or as its dead letter has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...topology import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The owner of a job; empty where none is declared."""

    owner: str = ""
    runbook: str = ""
    escalation: str = ""

    @property
    def document(self) -> dict[str, str | None]:
        """For `--json`; what is not declared is null."""
        return {"owner": self.owner or None, "runbook": self.runbook or None, "escalation": self.escalation or None}

    @property
    def lines(self) -> Iterator[tuple[str, str]]:
        """For people, those that are declared."""
        named = (("owner", self.owner), ("runbook", self.runbook), ("escalation", self.escalation))
        return (one for one in named if one[1])

    @property
    def sentence(self) -> str:
        """In one sentence; empty where nothing is declared.

        >>> Owner(owner="payments", runbook="https://wiki.example.org/charge").sentence
        'Its owner is payments. Runbook: https://wiki.example.org/charge.'
        """
        words = {"Its owner is {}.": self.owner, "Runbook: {}.": self.runbook, "Escalation: {}.": self.escalation}
        return " ".join(text.format(value) for text, value in words.items() if value)


NOBODY: Final = Owner()


def owner_of(pipeline: Pipeline, job_type: str, headers: Mapping[str, bytes] | None = None) -> Owner:
    """The owner of a job.

    Args:
        job_type: as its record names it; one that the pipeline does not declare has no owner.
        headers: of its dead letter, which has the owner and runbook of the time when it died; these come first.
    """
    from ...topology.wire import headers as wire

    declared, found = pipeline.job_types.get(job_type), headers or {}
    named = {"owner": found.get(wire.OWNER), "runbook": found.get(wire.RUNBOOK)}
    texts = {name: value.decode("utf-8", "replace") for name, value in named.items() if value}
    if declared is None:
        return Owner(**texts)
    return Owner(
        owner=texts.get("owner", declared.owner),
        runbook=texts.get("runbook", declared.runbook),
        escalation=declared.escalation,
    )
