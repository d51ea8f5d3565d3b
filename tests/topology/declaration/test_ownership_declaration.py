"""Owners, promises and followers are declared with the job type, and mistakes are refused with the way out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker.topology import InvalidDeclaration, JobStory, Pipeline, Slo
from stoker.topology.declaration.catalogue import catalogue

STORY = JobStory(
    reason="late", job_id="1", job_type="work", queue="q", key=None, tenant=None, attempt=1, origin="unit.q/0/0",
    enqueued=None, at=datetime(2026, 1, 1, tzinfo=UTC), waited_s=1.0,
)  # fmt: skip


class Declared:
    """A pipeline with a job type that takes stories, and one that does not."""

    def __init__(self) -> None:
        self.pipeline = Pipeline("unit")
        self.queue = self.pipeline.queue(
            "q", owner="shop", runbook="restart it", escalation="page", slo=Slo(wait=timedelta(seconds=5))
        )

        @self.pipeline.job(self.queue)
        def page(story: JobStory) -> None:
            """Nothing."""

        @self.pipeline.job(self.queue)
        def other(number: int) -> None:
            """Nothing."""

        self.page, self.other = page, other

    def declare(self, **options: Any) -> Any:
        """One more job type."""

        def work(number: int) -> None:
            """Nothing."""

        return self.pipeline.job(self.queue, **options)(work)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"owner": 7}, "owner is text, such as 'payments'; it is 7"),
        ({"owner": "x" * 101}, "owner may have 100 characters; it has 101"),
        ({"runbook": "a\nb"}, "runbook must be one line"),
        ({"escalation": " page"}, "escalation must be one line without blanks around it"),
        ({"slo": 0.99}, "slo is an Slo, such as"),
        ({"slo": Slo(success=1)}, "success must be above 0 and below 1, such as 0.999; it is 1"),
        ({"slo": Slo(wait=timedelta(0))}, "slo's wait must be a timedelta above zero"),
        ({"slo": Slo(run=5)}, "slo's run must be a timedelta above zero"),  # type: ignore[arg-type]
        ({"on_dead": "page"}, "on_dead takes a job type that is declared before this one, such as on_dead=page_owner"),
        ({"on_late": print}, "on_late takes a job type that is declared before this one"),
        ({"late_after": timedelta(1)}, "late_after goes with on_late="),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(options: dict[str, Any], fault: str) -> None:
    """Where the job type is declared."""
    with pytest.raises(InvalidDeclaration, match=fault):
        Declared().declare(**options)


def test_a_queue_refuses_what_a_job_type_does() -> None:
    """It is the owner of the types that name none."""
    with pytest.raises(InvalidDeclaration, match="slo's success must be above 0 and below 1"):
        Pipeline("unit").queue("q", slo=Slo(success=100))


def test_a_job_type_takes_from_its_queue_what_it_does_not_declare() -> None:
    """Each for itself; a promise as a whole."""
    declared = Declared()
    assert (declared.other.owner, declared.other.runbook, declared.other.escalation) == ("shop", "restart it", "page")
    own = declared.declare(owner="payments", slo=Slo(run=timedelta(seconds=1)))
    assert (own.owner, own.runbook, own.slo.wait, str(own.slo)) == (
        "payments",
        "restart it",
        None,
        "99.9% done, run 1s",
    )
    (queue,) = catalogue(declared.pipeline).queues
    shown = queue.job_types[-1]
    assert (shown.owner, shown.slo and shown.slo.run_s, queue.slo and queue.slo.wait_s) == ("payments", 1.0, 5.0)


def test_a_follower_takes_a_story_and_is_declared_before() -> None:
    """So no job type follows itself, and no two of them follow each other."""
    declared = Declared()
    with pytest.raises(InvalidDeclaration, match="on_dead names 'other', whose function must take one argument, story"):
        declared.declare(on_dead=declared.other)
    with pytest.raises(InvalidDeclaration, match="on_dead names the job type 'page' of another pipeline"):
        declared.declare(on_dead=Declared().page)
    followed = declared.declare(on_dead=declared.page, on_late=declared.page)
    assert (followed.on_dead, followed.late_s) == (declared.page, 5.0)
    assert (declared.page.on_dead, declared.page.late_s) == (None, None)


def test_on_late_needs_to_know_when_a_job_is_late() -> None:
    """By `late_after`, or else by what is promised of its wait."""
    declared = Declared()
    promise = Slo(run=timedelta(seconds=1))
    with pytest.raises(InvalidDeclaration, match=r"give late_after=timedelta\(…\), or slo=Slo\(wait=…\)"):
        declared.declare(on_late=declared.page, slo=promise)
    assert declared.declare(on_late=declared.page, slo=promise, late_after=timedelta(seconds=9)).late_s == 9.0


def test_a_queue_has_followers_for_its_types_that_name_none() -> None:
    """Each for itself: a type's own comes before the queue's."""
    declared = Declared()
    followed = declared.pipeline.queue(
        "followed", on_dead=declared.page, on_late=declared.page, slo=Slo(wait=timedelta(seconds=5))
    )

    @declared.pipeline.job(declared.queue)
    def ticket(story: JobStory) -> None:
        """Nothing."""

    @declared.pipeline.job(followed)
    def plain(number: int) -> None:
        """Nothing."""

    @declared.pipeline.job(followed, on_dead=ticket)
    def ticketed(number: int) -> None:
        """Nothing."""

    assert (plain.on_dead, plain.on_late, plain.late_s) == (declared.page, declared.page, 5.0)
    assert (ticketed.on_dead, ticketed.on_late) == (ticket, declared.page)
    shown = catalogue(declared.pipeline).queues[-1]
    assert (shown.on_dead, shown.on_late, shown.late_after_s) == ("page", "page", 5.0)


@pytest.mark.parametrize(
    ("of_queue", "of_type", "late_s"),
    [
        ({"late_after": 60}, {}, 60.0),
        ({"wait": 5}, {}, 5.0),
        ({"late_after": 60, "wait": 5}, {}, 60.0),
        ({"late_after": 60}, {"wait": 7}, 7.0),
        ({"late_after": 60}, {"run": 7}, 60.0),
        ({"late_after": 60}, {"late_after": 9, "wait": 7}, 9.0),
        ({"wait": 5}, {"run": 7}, None),
    ],
)
def test_a_job_is_late_by_its_type_before_its_queue(
    of_queue: dict[str, int], of_type: dict[str, int], late_s: float | None
) -> None:
    """By the `late_after` of the type, the wait of its own `slo`, the queue's `late_after`, and the queue's `slo`; an
    `Slo` of its own that promises no wait takes the place of the queue's."""
    declared = Declared()
    queue = declared.pipeline.queue("followed", on_late=declared.page, **_lateness(of_queue))

    def work(number: int) -> None:
        """Nothing."""

    if late_s is None:
        with pytest.raises(InvalidDeclaration, match="on_late needs to know when a job is late"):
            declared.pipeline.job(queue, **_lateness(of_type))(work)
    else:
        assert declared.pipeline.job(queue, **_lateness(of_type))(work).late_s == late_s


def _lateness(seconds: dict[str, int]) -> Any:
    times: dict[str, Any] = {name: timedelta(seconds=value) for name, value in seconds.items()}
    late_after = times.pop("late_after", None)
    return {"late_after": late_after, "slo": Slo(**times) if times else None}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"on_dead": "page"}, "on_dead takes a job type that is declared before this one"),
        ({"on_late": True}, "on_late takes a job type that is declared before this one"),
        ({"on_late": "own"}, "on_late needs to know when a job is late"),
        ({"late_after": timedelta(1)}, "late_after goes with on_late="),
        ({"on_dead": "other"}, "on_dead names 'other', whose function must take one argument, story"),
        ({"on_dead": "foreign"}, "on_dead names the job type 'page' of another pipeline"),
    ],
)
def test_a_queue_refuses_followers_that_cannot_be(options: dict[str, Any], fault: str) -> None:
    """A follower of a queue is of a queue declared before it, so it is never followed by itself."""
    declared, foreign = Declared(), Declared()
    named = {"own": declared.page, "other": declared.other, "foreign": foreign.page}
    given: dict[str, Any] = {
        name: named.get(value, value) if isinstance(value, str) else value for name, value in options.items()
    }
    with pytest.raises(InvalidDeclaration, match=fault):
        declared.pipeline.queue("followed", **given)


def test_a_story_tells_arguments_that_make_the_call_again() -> None:
    """As JSON data by name, or as what the handler was given; a story without them has none."""
    pipeline = Pipeline("unit")

    @pipeline.job(pipeline.queue("q"))
    def work(customer: str, since: datetime) -> None:
        """Nothing."""

    since = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    story = replace(STORY, arguments_json=json.dumps(work.contract.to_json(work.contract.payload(("ada", since), {}))))
    assert story.arguments["customer"] == "ada"
    assert work.call_from_json(story.arguments).kwargs == {"customer": "ada", "since": since}
    assert STORY.arguments == {}
