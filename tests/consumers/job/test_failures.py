"""What a failure leaves behind groups like with like, is bounded, and never fails itself."""

from __future__ import annotations

import pytest

from stoker.consumers.job.failure import MESSAGE_LIMIT_BYTES, STACK_LIMIT_BYTES, describe_failure, make_failure
from stoker.consumers.records.outcomes import Failure


def caught(error: Exception, job_type: str = "work") -> Failure:
    """The failure of an error raised at this one line."""
    try:
        raise error
    except Exception as raised:  # noqa: BLE001  # the test's own
        return describe_failure(job_type, raised)


def test_the_same_error_at_the_same_line_has_one_fingerprint_whatever_it_says() -> None:
    """Ids and times in the message do not part what belongs together."""
    assert caught(ValueError("order 1")).fingerprint == caught(ValueError("order 2")).fingerprint


def test_another_type_line_or_job_has_another_fingerprint() -> None:
    """Three ways to be something else."""
    one = caught(ValueError("x"))
    try:
        raise ValueError("x")
    except ValueError as elsewhere:
        other_line = describe_failure("work", elsewhere)
    prints = {one.fingerprint, other_line.fingerprint, caught(KeyError("x")).fingerprint}
    prints.add(caught(ValueError("x"), "another").fingerprint)
    assert len(prints) == 4


def test_the_innermost_part_of_a_long_stack_stays() -> None:
    """It names the error."""
    failure = make_failure("work", error_type="E", message="é" * 5_000, stack="a" * 9_000 + "the end")
    assert failure.stack.endswith("the end")
    assert len(failure.stack.encode()) <= STACK_LIMIT_BYTES
    assert len(failure.message.encode()) <= MESSAGE_LIMIT_BYTES


class _Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class _Surrogate(Exception):
    def __str__(self) -> str:
        return "\ud800"


@pytest.mark.parametrize("error", [_Unreadable(), _Surrogate(), ValueError("\x00"), OSError(2, "gone", "file")])
def test_an_error_that_cannot_be_described_is_reported_all_the_same(error: Exception) -> None:
    """Describing a failure must not fail."""
    failure = caught(error)
    assert failure.message
    assert failure.message.encode()
    assert failure.stack.encode()


def test_causes_are_kept_in_the_stack() -> None:
    """The cause is what one looks for."""
    effect = ValueError("effect")
    effect.__cause__ = KeyError("cause")
    assert "KeyError: 'cause'" in caught(effect).stack


def test_types_are_named_in_full_but_for_builtins() -> None:
    """So that a reader finds them."""
    assert caught(ValueError()).error_type == "ValueError"
    assert caught(_Surrogate()).error_type == f"{__name__}._Surrogate"
