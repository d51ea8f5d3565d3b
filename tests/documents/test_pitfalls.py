"""Every pitfall that other systems shipped has a test that shows Stoker does not, as far as it has the part.

The page of pitfalls is kept as a table: the defect, and the tests that fail when Stoker has it too. What has no part in
Stoker to occur in stands below, with the reason.
"""

from __future__ import annotations

import ast
from pathlib import Path

import click
import pytest

from stoker.operations.cli import main

TESTS = Path(__file__).parents[1]

PITFALLS = {
    # loss
    "commits the highest offset seen": ("test_no_commit_passes_an_incomplete_job",),
    "takes restored progress for more than is complete": (
        "test_successive_owners_run_each_offset_until_it_is_complete_and_then_no_more",
        "test_metadata_that_was_damaged_is_not_read",
        "test_metadata_of_another_offset_is_not_read",
    ),
    "commits although the retry or dead letter was not written": (
        "test_an_unwritable_dead_letter_topic_stops_the_commit_not_the_worker",
        "test_a_retry_that_cannot_be_written_is_not_settled_until_it_can",
    ),
    "swallows the error of a limit that shall stop it": (
        "test_as_many_threads_as_there_were_may_be_replaced_and_no_more",
        "test_a_worker_whose_runners_are_all_stuck_ends_and_its_jobs_come_again",
    ),
    "discards jobs whose retries are exhausted": (
        "test_a_failing_job_climbs_the_tiers_never_early_and_ends_in_the_dead_letters",
    ),
    "counts an unknown job type as a failure": ("test_an_unknown_job_type_waits_for_a_worker_that_knows_it",),
    "acknowledges before the job has run": (
        "test_a_job_beyond_the_grace_comes_again_with_the_same_attempt",
        "test_a_job_is_committed_only_after_its_entry_in_the_ledger",
    ),
    "ignores a retry delay that is too long": (
        "test_retry_after_is_kept_whatever_its_length",
        "test_a_delayed_record_waits_where_it_is_until_it_is_due",
    ),
    "swallows the delivery error of an enqueue": (
        "test_a_producer_reports_an_outage_in_time_and_goes_on_after_it",
        "test_an_async_producer_reports_an_outage_in_time",
    ),
    "multiplies retries when the ledger cannot be written": (
        "test_a_retry_whose_ledger_entry_fails_is_published_once",
    ),
    "passes over offsets that an operator has moved": (
        "test_an_operator_who_moves_offsets_back_gets_the_jobs_again",
        "test_an_offset_beyond_the_end_is_reported_and_all_records_are_run",
    ),
    # duplicates
    "throws away work that ends during a revocation": (
        "test_a_job_that_runs_when_its_partition_is_taken_ends_here_and_runs_once",
        "test_a_worker_that_joins_and_leaves_under_load_loses_nothing_and_doubles_nothing",
        "test_a_partition_that_comes_back_takes_over_completed_jobs_but_not_moved_records",
    ),
    "runs a job again that is alive": (
        "test_a_job_longer_than_the_poll_interval_keeps_its_partition",
        "test_a_job_that_was_stuck_and_ends_is_settled_once_and_its_key_goes_on",
    ),
    "lets a result of an old assignment overwrite a new one": (
        "test_the_result_of_a_revoked_partition_writes_only_what_is_true_whoever_owns_it",
        "test_a_job_that_ends_after_its_partition_began_anew_is_late",
    ),
    "runs again after a crash what was done out of order": ("test_a_kill_runs_again_only_the_one_job_that_was_stuck",),
    "doubles an effect between the database and the log": (
        "test_a_worker_killed_at_any_place_leaves_each_effect_once",
        "test_of_two_twins_at_the_same_time_one_has_its_effect",
    ),
    # stalls
    "stops a partition whose progress outgrows the commit": (
        "test_progress_that_outgrows_the_commit_is_spilled_and_survives_a_kill",
        "test_brokers_that_take_little_metadata_stop_no_partition",
        "test_without_the_progress_topic_jobs_go_on",
    ),
    "polls and buffers until memory is gone": (
        "test_jobs_in_flight_stay_below_their_bound_and_the_backlog_is_worked_off",
        "test_the_bytes_in_flight_are_bounded_too",
    ),
    "fails for ever at a null key": ("test_jobs_with_null_keys_run",),
    "waits for offsets that do not exist": ("test_gaps_that_transactions_leave_hold_nothing_up",),
    "waits for restored offsets that were compacted away": (
        "test_offsets_that_are_not_there_any_more_are_not_waited_for",
    ),
    "lets one bad item abort its batch": (
        "test_refused_calls_are_listed_and_the_others_confirmed",
        "test_a_dead_letter_too_large_for_the_topic_is_left_out_alone",
        "test_under_steady_load_failed_writes_are_reported_and_repeated",
        "test_no_bad_record_stops_the_queue_and_each_ends_as_it_came",
    ),
    "hangs after the broker's restart": ("test_a_broker_stopped_and_killed_and_started_under_load_costs_no_job",),
    "looks healthy while a job hangs": ("test_a_job_that_resists_is_reported_with_its_stack",),
    "looks healthy while its poll loop hangs": (
        "test_a_poll_thread_that_hangs_is_reported_with_its_stack",
        "test_a_worker_whose_poll_thread_hangs_for_good_ends",
    ),
    "stands still once all its threads hang": ("test_another_thread_takes_the_place_of_a_stuck_job",),
    "lets one job hold the event loop for all": ("test_while_a_job_holds_the_loop_others_run_on_another_one",),
    "recycles all its processes at once": ("test_recycling_under_load_costs_no_capacity",),
    "waits for ever for a process that cannot start": (
        "test_children_that_cannot_start_make_jobs_wait_and_the_worker_say_so",
    ),
    "starves a retry behind the jobs that wait for it": ("test_a_key_whose_jobs_fill_the_bounds_still_gets_its_retry",),
    "has retry topics with fewer partitions": ("test_the_topics_of_a_queue_must_agree",),
    "pauses so often that the prefetch is lost": ("test_a_short_lack_of_room_is_waited_out",),
    # surprise
    "keeps the retry counter in memory": ("test_workers_killed_at_random_lose_no_job",),
    "keeps the count of crashes in memory": (
        "test_the_next_owner_goes_on_counting_crashes",
        "test_crashes_of_an_earlier_owner_count",
    ),
    "blames a bystander for the death of its process": (
        "test_a_deadly_job_is_quarantined_and_its_bystanders_are_done_at_their_first_attempt",
        "test_a_job_that_kills_whole_workers_is_quarantined",
        "test_deaths_of_whole_workers_alone_convict_nobody",
    ),
    "is late by a long poll": (
        "test_a_failing_job_climbs_the_tiers_never_early_and_ends_in_the_dead_letters",
        "test_a_retry_is_not_queued_behind_the_backlog",
    ),
    "lets headers grow with each retry": ("test_headers_do_not_grow_with_the_attempts",),
    "keeps stack traces of any length": ("test_an_errors_text_and_stack_are_bounded",),
    "a pause made from outside is gone after a restart": (
        "test_a_pause_is_answered_holds_after_a_restart_and_ends_with_resume",
        "test_a_worker_that_starts_takes_the_orders_before_its_first_job",
    ),
    "shows a lag that stands still while it pauses": (
        "test_unfinished_records_are_counted_also_while_a_partition_is_paused",
    ),
    "hands a computing job to a second worker": ("test_a_job_longer_than_the_poll_interval_keeps_its_partition",),
    "lets a computing job starve the heartbeats": ("test_an_isolated_job_that_computes_for_long_starves_nobody",),
    "passes on a value whose conversion failed": ("test_a_value_that_does_not_fit_is_refused",),
    "an outbox's relay remembers the highest id and passes over rows that commit later": (
        "test_a_transaction_that_commits_late_is_not_passed_over",
        "test_transactions_that_commit_in_any_order_are_all_published",
    ),
    "one row of an outbox that cannot be published stops all": (
        "test_a_row_that_is_too_large_holds_up_its_own_key_alone",
        "test_rows_of_a_topic_that_is_gone_fail_until_it_is_there",
    ),
    "an outbox's table grows faster than it is vacuumed": ("test_the_relay_vacuums_its_table",),
    "writes the broker's password to the log": (
        "test_log_lines_of_the_client_carry_no_secret",
        "test_secrets_are_shown_nowhere",
        "test_a_wrong_url_is_refused_and_never_shown",
    ),
    # time
    "fires twice with two schedulers, never after one died, and a thousand times when it is back": (
        "test_each_instant_fires_once_whatever_dies",
        "test_killed_and_frozen_workers_fire_each_instant_once",
        "test_what_was_missed_follows_the_policy",
        "test_a_long_outage_is_not_walked_through",
    ),
    "fires in the wrong zone, or twice or never at a change of daylight saving": (
        "test_what_is_set_for_an_hour_that_is_left_out_fires_at_its_end",
        "test_what_is_set_for_an_hour_that_comes_twice_fires_once",
        "test_clocks_that_are_put_forward_or_back_neither_skip_nor_repeat",
    ),
    "loses or repeats delayed jobs with the worker that keeps them": (
        "test_delayed_jobs_start_when_they_are_due",
        "test_a_delayed_record_waits_where_it_is_until_it_is_due",
    ),
}
"""{defect: the tests that fail when Stoker has it too}."""

WITHOUT_THE_PART: dict[str, tuple[str, str]] = {}
"""{defect: (the command that the part would bring, why it cannot occur)}. With the part comes its test, above."""


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
    assert PITFALLS[defect]
    assert not [name for name in PITFALLS[defect] if name not in names]


@pytest.mark.parametrize("defect", WITHOUT_THE_PART)
def test_a_pitfall_without_test_has_no_part_to_occur_in(defect: str) -> None:
    """Whoever adds the part is sent to this page."""
    command, _why = WITHOUT_THE_PART[defect]
    assert command not in main.list_commands(click.Context(main))
