"""Every pitfall that other systems shipped has a test that shows Stoker does not, as far as it has the part.

The page of pitfalls is kept as a table: the defect, and the test that fails when Stoker has it too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

PITFALLS = {
    # loss
    "commits the highest offset seen": "test_no_commit_passes_an_incomplete_job",
    "takes restored progress for more than is complete": (
        "test_successive_owners_run_each_offset_until_it_is_complete_and_then_no_more"
    ),
    "commits although the retry or dead letter was not written": (
        "test_an_unwritable_dead_letter_topic_stops_the_commit_not_the_worker"
    ),
    "discards jobs whose retries are exhausted": (
        "test_a_failing_job_climbs_the_tiers_never_early_and_ends_in_the_dead_letters"
    ),
    "counts an unknown job type as a failure": "test_an_unknown_job_type_waits_for_a_worker_that_knows_it",
    "acknowledges before the job has run": "test_a_job_beyond_the_grace_comes_again_with_the_same_attempt",
    "ignores a retry delay that is too long": "test_retry_after_is_kept_whatever_its_length",
    "swallows the delivery error of an enqueue": "test_a_producer_tells_of_an_outage_in_time_and_goes_on_after_it",
    "multiplies retries when the ledger cannot be written": ("test_a_retry_whose_ledger_entry_fails_is_published_once"),
    # duplicates
    "throws away work that ends during a revocation": (
        "test_a_worker_that_joins_and_leaves_under_load_loses_nothing_and_doubles_nothing"
    ),
    "runs a job again that is alive": "test_a_job_longer_than_the_poll_interval_keeps_its_partition",
    "lets a result of an old assignment overwrite a new one": (
        "test_the_result_of_a_revoked_partition_writes_only_what_is_true_whoever_owns_it"
    ),
    # stalls
    "polls and buffers until memory is gone": (
        "test_jobs_in_flight_stay_below_their_bound_and_the_backlog_is_worked_off"
    ),
    "fails for ever at a null key": "test_jobs_with_null_keys_run",
    "stops a partition whose progress outgrows the commit": (
        "test_progress_that_outgrows_the_commit_is_spilled_and_survives_a_kill"
    ),
    "waits for offsets that do not exist": "test_gaps_that_transactions_leave_hold_nothing_up",
    "waits for restored offsets that were compacted away": (
        "test_offsets_that_are_not_there_any_more_are_not_waited_for"
    ),
    "hangs after the broker's restart": "test_a_broker_stopped_and_killed_and_started_under_load_costs_no_job",
    "looks healthy while a job hangs": "test_a_job_that_resists_is_reported_with_its_stack",
    "looks healthy while its poll loop hangs": "test_a_poll_thread_that_hangs_is_told_with_its_stack",
    "stands still once all its threads hang": "test_another_thread_takes_the_place_of_a_stuck_job",
    "lets one job hold the event loop for all": "test_while_a_job_holds_the_loop_others_run_on_another_one",
    "has retry topics with fewer partitions": "test_the_topics_of_a_queue_must_agree",
    "pauses so often that the prefetch is lost": "test_a_partition_is_full_at_its_share_and_drained_at_half_of_it",
    # surprise
    "keeps the retry counter in memory": "test_workers_killed_at_random_lose_no_job",
    "is late by a long poll": "test_a_failing_job_climbs_the_tiers_never_early_and_ends_in_the_dead_letters",
    "lets headers grow with each retry": "test_headers_do_not_grow_with_the_attempts",
    "keeps stack traces of any length": "test_an_errors_text_and_stack_are_bounded",
    "hands a computing job to a second worker": "test_a_job_longer_than_the_poll_interval_keeps_its_partition",
    "lets a computing job starve the heartbeats": "test_an_isolated_job_that_computes_for_long_starves_nobody",
    "passes on a value whose conversion failed": "test_a_value_that_does_not_fit_is_refused",
    "writes the broker's password to the log": "test_log_lines_of_the_client_carry_no_secret",
}


@pytest.fixture(scope="module")
def names() -> set[str]:
    """All test functions of the suite."""
    return {
        node.name
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("defect", PITFALLS)
def test_each_pitfall_has_its_test(defect: str, names: set[str]) -> None:
    """A renamed or removed test must not leave a pitfall open unnoticed."""
    assert PITFALLS[defect] in names
