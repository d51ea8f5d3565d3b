"""The filter options shared by listing, replaying and discarding, and the values they take."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .exit_codes import ExitCode
from .failures import CommandFailure
from .parameters import INSTANT, Command, with_options

if TYPE_CHECKING:
    from ..stored_jobs.selection import Selection


class JsonAssignment(click.ParamType):
    """`path=value`, where the value is JSON."""

    name = "assignment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, object]:
        """Split and read."""
        if isinstance(value, tuple):
            return value[0], value[1]
        path, equals, written = str(value).partition("=")
        if not equals or not path:
            self.fail(f"{value!r} is not of the form FIELD=JSON", param, ctx)
        try:
            return path, json.loads(written)
        except json.JSONDecodeError as wrong:
            self.fail(f"{written!r} is not JSON ({wrong}): texts need quotes, as in {path}='\"text\"'", param, ctx)


_JOB_FILTERS = (
    click.option("--type", "job_types", multiple=True, metavar="NAME", help="Only jobs of this type; repeatable."),
    click.option("--key", "keys", multiple=True, metavar="KEY", help="Only jobs with this ordering key; repeatable."),
    click.option("--tenant", "tenants", multiple=True, metavar="TENANT", help="Only jobs of this tenant; repeatable."),
    click.option("--id", "ids", multiple=True, metavar="JOB_ID", help="Only the job with this id; repeatable."),
    click.option(
        "--partition", "partitions", multiple=True, type=click.IntRange(0), help="Only this partition; repeatable."
    ),
)
_DEATH_FILTERS = (
    click.option(
        "--error",
        "error_types",
        multiple=True,
        metavar="CLASS",
        help="Only this error class; its module may be left out.",
    ),
    click.option(
        "--fingerprint",
        "fingerprints",
        multiple=True,
        metavar="HEX",
        help="Only this error fingerprint; its first digits are enough.",
    ),
    click.option(
        "--dead-reason",
        "reasons",
        multiple=True,
        metavar="WORD",
        help="Only what died for this reason, as `dead list` shows it.",
    ),
    click.option(
        "--since", type=INSTANT, help="Only what died at or after this time: RFC 3339, a date, -2h, '30m ago'."
    ),
    click.option("--until", type=INSTANT, help="Only what died before this time."),
)


def job_filters(command: Command) -> Command:
    """Add the filters that fit any stored job."""
    return with_options(command, _JOB_FILTERS)


def death_filters(command: Command) -> Command:
    """Add the filters that fit dead letters."""
    return with_options(command, (*_JOB_FILTERS, *_DEATH_FILTERS))


def selection_of(filters: Mapping[str, Any], targets: Iterable[str] = (), limit: int | None = None) -> Selection:
    """Build the selection from the options' values and from dead letters named by reference or id.

    Args:
        filters: {option: its value}, whose types click has checked, each another one.

    Raises:
        UsageError: it cannot be meant.
    """
    from ..stored_jobs.selection import Selection
    from ..stored_jobs.stored_job import parse_ref

    refs = {target: parse_ref(target) for target in targets}
    named: dict[str, Any] = {  # as above
        name: value if name in ("since", "until") else frozenset(value) for name, value in filters.items()
    }
    named["ids"] = named.get("ids", frozenset()) | {target for target, ref in refs.items() if ref is None}
    selection = Selection(**named, refs=frozenset(ref for ref in refs.values() if ref is not None), limit=limit)
    if faults := selection.faults():
        raise click.UsageError("; ".join(faults))
    return selection


@contextmanager
def stored_job_failures() -> Iterator[None]:
    """Turn the errors of stored jobs into their message and exit code."""
    from ..stored_jobs.errors import CorrectionsRefused, FiltersTooLong, ReadStalled, StoredJobsError

    try:
        yield
    except (CorrectionsRefused, FiltersTooLong) as wrong:
        raise CommandFailure(str(wrong), ExitCode.USAGE) from wrong
    except ReadStalled as stalled:
        raise CommandFailure(str(stalled), ExitCode.UNREACHABLE) from stalled
    except StoredJobsError as failed:
        raise CommandFailure(str(failed), ExitCode.FINDING) from failed
