"""The jobs that `stoker jobs retry` and `cancel` are about: named by their ids, or taken by filters of the index."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from ..cli.app import AppContext
from ..cli.output import echo_line
from ..cli.parameters import Options
from .options import filter_of
from .status import STALE_AFTER_S, freshness

if TYPE_CHECKING:
    from ..job_index.listed_jobs import ListedJob

MOST: Final = 10_000
"""Jobs that are taken at once, at most."""
_MOST_BY_TOPICS: Final = 20
"""Without an index each id costs a reading of the topics."""
FILTERS: Final = (
    *("queues", "types", "states", "key", "tenant", "worker", "release"),
    *("error", "fingerprint", "words", "since", "until"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The jobs that are meant.

    Attributes:
        unknown: ids of which nothing is known.
        more: whether the filters take more than these.
        note: where it comes from, in words.
    """

    jobs: Sequence[ListedJob]
    unknown: Sequence[str] = ()
    more: bool = False
    note: str = ""


def choose(app: AppContext, job_ids: tuple[str, ...], index: str | None, limit: int, options: Options) -> Chosen:
    """Find the jobs that ids or filters mean; takes the filters out of the options.

    Ids that the index does not have are looked up in the topics, if they are few.

    Raises:
        UsageError: neither is given, or both.
        IndexAbsent: there is no index, and filters need it.
    """
    filters = {name: options.pop(name) for name in FILTERS}
    is_filtered = any(value not in (None, "", ()) for value in filters.values())
    if bool(job_ids) == is_filtered:
        raise click.UsageError("name jobs by their ids, or by filters such as --type and --state: one of the two")
    return _named(app, job_ids, index) if job_ids else _filtered(app, index, limit, filters)


def _filtered(app: AppContext, index: str | None, limit: int, filters: Options) -> Chosen:
    from ..job_index.database import index_path
    from ..job_index.index_reader import IndexReader

    wanted = filter_of(filters)
    with IndexReader(index_path(app.pipeline.namespace, index)) as reader:
        state = reader.state()
        found = reader.find(wanted, limit)
    return Chosen(jobs=found.jobs, more=found.more, note=f"by the index, {_fresh(state)}")


def _named(app: AppContext, job_ids: tuple[str, ...], index: str | None) -> Chosen:
    from ..job_index.database import IndexAbsent, index_path
    from ..job_index.index_reader import IndexReader

    try:
        with IndexReader(index_path(app.pipeline.namespace, index)) as reader:
            state = reader.state()
            found = {job_id: reader.job(job_id) for job_id in dict.fromkeys(job_ids)}
        note = f"by the index, {_fresh(state)}"
    except IndexAbsent:
        found, note = dict.fromkeys(job_ids), "there is no index: `stoker status run` keeps one"
    unknown = [job_id for job_id, job in found.items() if job is None]
    by_topics = _by_topics(app, unknown)
    jobs = [job for job in (found[job_id] or by_topics.get(job_id) for job_id in found) if job is not None]
    return Chosen(jobs=jobs, unknown=[job_id for job_id in unknown if job_id not in by_topics], note=note)


def _by_topics(app: AppContext, job_ids: Sequence[str]) -> dict[str, ListedJob]:
    """{id: job} of those that the topics have."""
    from ..job_index.job_history import read_history

    if not job_ids:
        return {}
    if len(job_ids) > _MOST_BY_TOPICS:
        echo_line(
            f"the index does not have {len(job_ids):,} of these ids, and reading the topics for each takes too long: "
            "`stoker status run` keeps an index",
            err=True,
        )
        return {}
    echo_line("reading the topics; this takes a while where they are large", err=True)
    histories = {job_id: read_history(app.pipeline, app.cluster, job_id) for job_id in job_ids}
    return {job_id: history.job for job_id, history in histories.items() if history is not None}


def _fresh(state: Any) -> str:
    """How new the index is; a stale one is reported at once, since its content decides what is done."""
    age_s = state.age_s(time.time())
    words = freshness(age_s, state.behind)
    if age_s is None or age_s > STALE_AFTER_S or state.behind:
        echo_line(f"the index: {words} Jobs that have moved since are left out, or not found.", err=True)
    return words
