"""`recorded_prune`: puts on the audit trail who deletes rows of an inbox or an outbox, and which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from ..cli.app import AppContext
from ..cli.failures import CommandFailure

if TYPE_CHECKING:
    from ...topology import ClusterSettings

INBOX_PRUNED: Final = "inbox-pruned"
OUTBOX_PRUNED: Final = "outbox-pruned"
"""The actions of entries about rows that are deleted."""
_OPTIONS: Final = (
    click.option("--reason", default="", metavar="TEXT", help="Why, for the audit trail."),
    click.option("--without-audit", is_flag=True, help="Delete although the audit topic cannot be written to."),
)


def audit_options(command: Any) -> Any:  # a decorator of functions of any kind
    """Give a command that prunes the options about its entry; it hands them to `recorded_prune`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """The rows that are about to be deleted.

    Attributes:
        action: `INBOX_PRUNED` or `OUTBOX_PRUNED`.
        older_than: rows from before then.
        rows: how many they are.
        lost: {job id: what is lost with its row}, of the first ones.
    """

    action: str
    table: str
    older_than: datetime
    rows: int
    lost: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def recorded_prune(
    app: AppContext, prune: Prune, *, reason: str, without_audit: bool
) -> Iterator[Callable[[int], None]]:
    """Write an entry before the block deletes the rows, and one after it; the block reports how many it has deleted.

    The commands need a database, and no brokers: where no application or no cluster is named, a note says so.

    Raises:
        CommandFailure: the audit topic does not take the entry; nothing is deleted.
    """
    cluster = None if without_audit else _cluster(app)
    if cluster is None:
        yield lambda _: None
        return
    from ...schemas.own_records.audit_entries import Phase
    from ...topology.cluster.audit_writer import AuditUnwritable, AuditWriter
    from ...topology.planning.recording import ActionRecord, Recording, begun_entry

    entry = begun_entry(prune.action, Recording(actor=app.actor(), reason=reason))
    detail = {"table": prune.table, "older_than": prune.older_than.isoformat(), "rows": str(prune.rows)}
    with AuditWriter(cluster, app.pipeline.audit_topic) as writer:
        record = ActionRecord(replace(entry, before=prune.lost, detail=detail), writer)
        try:
            record.begin()
        except AuditUnwritable as refused:
            raise CommandFailure(str(refused)) from refused
        done: list[int] = []
        try:
            yield done.append
        except BaseException:
            record.end(Phase.FAILED, {"done": str(sum(done))})
            raise
        record.end(Phase.ENDED, {"done": str(sum(done))})


def _cluster(app: AppContext) -> ClusterSettings | None:
    """The cluster whose audit topic is meant; None, with a note, where the call names none."""
    from ...topology import NoCluster

    if not app.application:
        app.note("this is not on the audit trail, since no application is named (-A)")
        return None
    try:
        return app.cluster
    except NoCluster:
        app.note("this is not on the audit trail, since no cluster is configured")
        return None
