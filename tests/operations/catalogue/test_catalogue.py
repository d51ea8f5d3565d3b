"""`stoker catalogue` shows owners, promises and measured values; burn rates say when an owner is to be told."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoker.operations.catalogue.burn_rates import burn_rates
from stoker.operations.catalogue.measurements import Measured
from stoker.operations.cli import main
from stoker.topology import Pipeline, Slo
from stoker.topology.declaration.catalogue import CataloguedSlo

pytestmark = pytest.mark.timeout(60)

APPLICATION = """
from datetime import timedelta
from stoker.topology import JobStory, Pipeline, Slo
pipeline = Pipeline("unit", description="a <shop>")
queue = pipeline.queue("work", owner="shop")

@pipeline.job(queue)
def page(story: JobStory) -> None:
    pass

@pipeline.job(queue, owner="payments", runbook="https://wiki.example.org/a|b", escalation="page them",
              slo=Slo(wait=timedelta(seconds=3), success=0.9995), on_dead=page, on_late=page, story_arguments=False)
def charge(number: int) -> None:
    pass
"""


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An application without index or cluster."""
    (tmp_path / "app_of_owners.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "app_of_owners:pipeline"


def call(application: str, *words: str) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(main, ["-A", application, "catalogue", *words])


def test_the_catalogue_needs_neither_broker_nor_index(application: str) -> None:
    """It says that nothing is measured; a named job type is shown in full."""
    table = call(application).stdout
    assert all(part in table for part in ("payments", "shop", "? of 99.95%", "? of 3s", "there is no index"))
    named = call(application, "charge").stdout
    lines = {" ".join(line.split()) for line in named.splitlines()}
    assert {"escalation page them", "on dead page", "on late page, after 3s", "measured not measured"} <= lines
    assert "stories without the arguments" in lines
    assert "stories" not in call(application, "page").stdout
    assert "did you mean charge" in call(application, "charg").stderr
    assert call(application, "--json", "--markdown").exit_code == 2


def test_the_page_of_markdown_holds_foreign_text_in_its_cells(application: str) -> None:
    """A bar in an address ends no cell, and a tag is none."""
    page = call(application, "--markdown").stdout
    assert "| https://wiki.example.org/a\\|b |" in page
    assert "a &lt;shop&gt;" in page
    assert "## charge" in page


def test_a_pipeline_without_job_types_is_shown_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, as a page without an empty table, and as data."""
    (tmp_path / "app_of_nobody.py").write_text("from stoker.topology import Pipeline\npipeline = Pipeline('unit')\n")
    monkeypatch.syspath_prepend(tmp_path)
    nobody = "app_of_nobody:pipeline"
    assert call(nobody).stdout == "the pipeline declares no job type\n"
    assert call(nobody, "--markdown").stdout == "# unit\n\nNo job type is declared.\n"
    assert json.loads(call(nobody, "--json").stdout)["queues"] == []


def test_programs_get_numbers(application: str) -> None:
    """Times in seconds, and null for what is not known."""
    (queue,) = json.loads(call(application, "charge", "--json").stdout)["queues"]
    (job,) = queue["job_types"]
    assert (job["slo"], job["late_after_s"]) == ({"wait_s": 3.0, "run_s": None, "success": 0.9995}, 3.0)
    assert job["story_arguments"] is False
    assert (job["measured"]["success"], job["measured"]["missed"]) == (None, [])


def test_a_promise_is_missed_where_the_measured_value_is_worse() -> None:
    """What is not measured, or not promised, is not missed."""
    promised = CataloguedSlo(wait_s=1.0, run_s=None, success=0.9)
    assert Measured(done=9, dead=1, wait_p99_s=1.0, run_p99_s=99.0).missed(promised) == ()
    assert Measured(done=8, dead=1, wait_p99_s=1.1).missed(promised) == ("success", "wait")
    assert Measured().missed(promised) == Measured(dead=1).missed(None) == ()


def test_a_budget_that_burns_fast_pages_and_one_that_burns_slowly_is_a_ticket() -> None:
    """0.999 leaves a thousandth: 14.4 times as many failures in an hour spend 2 % of 30 days."""
    pipeline = Pipeline("unit")
    queue = pipeline.queue("work", owner="shop", runbook="restart it", escalation="page")

    @pipeline.job(queue, slo=Slo(run=timedelta(seconds=2)))
    def charge(number: int) -> None:
        """Nothing."""

    @pipeline.job(queue)
    def other(number: int) -> None:
        """Nothing."""

    rules = burn_rates(pipeline)
    assert {rule.job_type for rule in rules} == {"charge"}
    first = rules[0]
    assert (first.owner, first.runbook, first.escalation) == ("shop", "restart it", "page")
    assert (first.urgency, first.promise, first.long) == ("page", "success", timedelta(hours=1))
    assert first.most == pytest.approx(0.0144)
    assert [(rule.urgency, rule.promise, rule.bound_s) for rule in rules[2:]] == [
        ("ticket", "success", None),
        ("page", "run", 2.0),
        ("page", "run", 2.0),
        ("ticket", "run", 2.0),
    ]
