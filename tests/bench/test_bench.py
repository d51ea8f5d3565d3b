"""The benchmarks run to their end on a real broker, at a size that takes seconds; such figures prove nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stoker.topology import ClusterSettings

RUN = Path(__file__).parents[2] / "bench" / "run.py"
TINY = (
    *("--rounds", "1", "--jobs", "300", "--waiting", "1000", "--seconds", "0.5"),
    *("--delayed", "1000", "--over", "6", "--session", "6"),
)
SECONDS = 110


def bench(cluster: ClusterSettings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks on the tests' cluster."""
    return subprocess.run(
        [sys.executable, str(RUN), *TINY, *arguments],
        env={**os.environ, "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def measured(cluster: ClusterSettings, name: str) -> dict[str, Any]:
    """What one measure found in its only round."""
    done = bench(cluster, "--only", name, "--json")
    assert done.returncode == 0, done.stderr
    (values,) = json.loads(done.stdout)["rounds"][name]
    found: dict[str, Any] = values
    return found


@pytest.mark.parametrize("name", ["worker", "async"])
def test_a_worker_is_measured_beside_a_bare_loop(cluster: ClusterSettings, name: str) -> None:
    """Both get through the backlog, the worker with everything committed, and their ratio is printed."""
    values = measured(cluster, name)
    assert values["rate"] > 0
    assert values["settled_per_s"] >= values["rate"]
    assert values["ratio"] == pytest.approx(values["rate"] / values["bare"])


def test_statistics_are_measured_by_what_is_counted_and_written(cluster: ClusterSettings) -> None:
    """A tiny load is counted by the first snapshot."""
    values = measured(cluster, "statistics")
    assert values["rate"] > 0
    assert values["cpu_us"] == pytest.approx(values["event_us"] / 100)


def test_the_stages_of_a_job_are_measured_one_by_one(cluster: ClusterSettings) -> None:
    """Each costs something, and together they are all that the thread has done."""
    values = measured(cluster, "stages")
    stages = {name: spent for name, spent in values.items() if name != "all"}
    assert all(spent > 0 for spent in stages.values())
    assert sum(stages.values()) == pytest.approx(values["all"])


def test_jobs_that_wait_are_measured_beside_the_ceiling_of_their_lanes(cluster: ClusterSettings) -> None:
    """The share is of the jobs settled; of so few, the clock's first look makes it wrong by several per cent."""
    values = measured(cluster, "brief")
    assert values["share"] == pytest.approx(values["rate"] / values["ceiling"])
    assert values["share"] > 0


def test_enqueueing_is_measured_in_bulk_and_singly(cluster: ClusterSettings) -> None:
    """Rates and waits of Stoker's producer stand beside those of the plain client."""
    values = measured(cluster, "bulk")
    assert values["ratio"] == pytest.approx(values["rate"] / values["plain"])
    assert 0 < values["single_p50"] <= values["single_p99"]
    assert 0 < values["plain_single_p50"] <= values["plain_single_p99"]


def test_schedules_are_measured_by_what_they_cost_their_worker(cluster: ClusterSettings) -> None:
    """Each of ten has fired within two minutes, and none early."""
    values = measured(cluster, "schedules")
    assert values["count"] == 10
    assert 0 <= values["late_p50"] <= values["late_p99"]


def test_memory_is_measured_while_the_backlog_waits(cluster: ClusterSettings) -> None:
    """A figure taken after the backlog was worked off would say nothing."""
    values = measured(cluster, "memory")
    assert 10 < values["idle"] <= values["loaded"] + 10
    assert 0 < values["waiting"] <= 1000


def test_latency_is_measured_from_the_call_to_the_start(cluster: ClusterSettings) -> None:
    """Worker and bare consumer see the same jobs."""
    values = measured(cluster, "latency")
    assert 0 < values["wait_p50"] <= values["wait_p99"]
    assert 0 < values["bare_p50"] <= values["bare_p99"]


@pytest.mark.soak
@pytest.mark.timeout(3 * SECONDS + 30)
def test_limits_fairness_and_priorities_are_measured(cluster: ClusterSettings) -> None:
    """Shares are of the queue that declares nothing; a fleet begins nothing beyond its limit."""
    values = measured(cluster, "shares")
    assert values["limited_share"] == pytest.approx(values["limited"] / values["tenanted"])
    assert values["fair_share"] == pytest.approx(values["fair"] / values["tenanted"])
    values = measured(cluster, "urgent")
    assert values["added"] == pytest.approx(values["past"] - values["idle"])
    values = measured(cluster, "flood")
    assert 0 < values["ahead"] <= values["ahead_p99"]
    assert 0 < values["comes"] <= values["comes_p99"]
    values = measured(cluster, "fleet")
    assert values["beyond"] == 0 < values["used"]


def test_retries_are_reported_as_text_with_their_targets(cluster: ClusterSettings) -> None:
    """People see a table and what was wanted, and a script can ask for an exit code: no retry is early."""
    done = bench(cluster, "--only", "retry", "--strict")
    targets = [line.split()[:2] for line in done.stdout.partition("targets\n")[2].splitlines()]
    assert "late by, p99, ms" in done.stdout, done.stderr
    assert [name for _, name in targets] == ["retry:", "retry:"]
    assert targets[0][0] == "met", done.stdout
    assert done.returncode == int(["missed", "retry:"] in targets)


def test_a_backlog_of_one_key_is_measured_through_a_kill_and_its_release(cluster: ClusterSettings) -> None:
    """Other keys have a rate with and without it, and every job has begun in the end, those of the key in order."""
    values = measured(cluster, "waiting")
    assert values["share"] == pytest.approx(values["beside"] / values["alone"])
    assert values["released_share"] == pytest.approx(values["released"] / values["single"])
    assert 0 < values["first"] <= values["known"]
    assert values["again"] >= 1, "the blocking job ran when the worker was killed"
    assert (values["disordered"], values["lost"]) == (0, 0)


@pytest.mark.soak
def test_a_key_that_waits_for_its_retry_is_measured_through_a_kill_and_its_release(cluster: ClusterSettings) -> None:
    """In strict order; its failed job was settled before the kill, so nothing of the key begins again."""
    values = measured(cluster, "strict")
    assert values["share"] == pytest.approx(values["beside"] / values["alone"])
    assert 0 < values["first"] <= values["known"]
    assert (values["disordered"], values["lost"]) == (0, 0)


@pytest.mark.soak
def test_what_was_paused_is_measured_through_a_kill_and_its_release(cluster: ClusterSettings) -> None:
    """None of the type or the tenant begins before its release, and every job has begun in the end."""
    values = measured(cluster, "released")
    assert min(values["type_rate"], values["tenant_rate"]) > 0
    assert (values["type_early"], values["tenant_early"], values["lost"]) == (0, 0, 0)


def test_delays_are_measured_through_a_kill_and_a_burst(cluster: ClusterSettings) -> None:
    """None begins early, and every job has begun in the end."""
    values = measured(cluster, "delay")
    assert min(values["earliest"], values["burst_earliest"]) >= 0
    assert values["late_p50"] <= values["late_p99"] <= values["late_max"]
    assert values["burst_share"] == pytest.approx(values["burst"] / values["usual"])
    assert values["lost"] == 0


def test_orders_are_measured_until_all_workers_have_answered(cluster: ClusterSettings) -> None:
    """One after the other, and many at once."""
    values = measured(cluster, "control")
    assert 0 < values["p50"] <= values["p99"]
    assert values["orders"] >= 2
    assert values["keys_s"] > 0


def test_the_outbox_is_measured_on_a_database_of_its_own(cluster: ClusterSettings) -> None:
    """The relay publishes a backlog, single commits, and what writers commit under load."""
    values = measured(cluster, "outbox")
    assert values["rate"] > 0
    assert 0 < values["p50"] <= values["p99"]
    assert values["written"] > 0
    assert values["peak_mb"] > 0


def test_the_events_of_done_jobs_are_measured_as_a_share_of_doing_without(cluster: ClusterSettings) -> None:
    """In turn, so that a slow minute hits both; a worker whose events leave jobs out would have it easier."""
    values = measured(cluster, "events")
    assert min(values["with"], values["without"], values["share"], values["with_cpu_us"], values["without_cpu_us"]) > 0
    assert values["given_up"] == 0


def test_an_index_is_measured_while_entries_come_in(cluster: ClusterSettings) -> None:
    """Its size, what an entry costs, and its slowest answers."""
    values = measured(cluster, "index")
    assert values["build_s"] == pytest.approx(values["rows_s"] + values["indexes_s"])
    assert min(values["job_bytes"], values["live_per_s"], values["slowest"], values["counts"]) > 0


def test_commands_are_measured_as_people_run_them(cluster: ClusterSettings) -> None:
    """As processes of their own, beside one that asks nothing; `top` waits for its interval besides."""
    values = measured(cluster, "commands")
    assert min(values[name] for name in ("start", "show", "list", "counts", "audit")) > 0
    assert values["top"] > 500 + values["top_beyond"]


def test_a_rebuild_is_measured_until_it_has_every_job(cluster: ClusterSettings) -> None:
    """From the topics of a worker that has done them all."""
    values = measured(cluster, "rebuild")
    assert values["done_share"] == 1.0
    assert 0 < values["ready_s"] <= values["settled_s"]
