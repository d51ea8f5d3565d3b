"""The doctor: checks from outside the guarantees that a cluster can show, and finds how to fix those that are broken.

Kept apart: `facts` asks the cluster, the modules of checks judge the answers, this module joins them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ...schemas import SchemaStore, StoreError
from ...schemas.codec.codec import Codec
from ...topology import ClusterSettings, Pipeline, Queue
from ...topology.cluster.settings import ClusterUnreachable, NotAuthorized
from ...topology.counts import counted
from ...topology.planning.access import require_rights
from ...topology.planning.contracts import refused_contracts
from ...topology.planning.rights import Duty, Operation
from ...topology.planning.schema_store import schema_store
from ...topology.planning.verify import TopologyMismatch, verify
from ..cluster_view import ANSWER_TIMEOUT_S, ClusterView
from .cluster_checks import CLUSTER, check_cluster, check_session, unreachable
from .control_checks import check_control
from .facts import Facts, gather
from .findings import Finding, Verdict, broken, kept, unknown
from .queue_checks import check_queue

CHECKABLE: Final = ("P1", "P2", "P3", "P4", "P5", "P6", "P8", "P9", "P10", "P13")
"""The guarantees that a cluster can show. P16 is that of an outbox, whose database has it; the others are about the
inside of a running worker."""


def examine(pipeline: Pipeline, cluster: ClusterSettings, *, timeout_s: float = ANSWER_TIMEOUT_S) -> list[Finding]:
    """Look at every guarantee that can be checked from outside.

    Args:
        timeout_s: for each question to the cluster.

    Returns:
        The findings, those of the cluster first, then queue by queue in the order of declaration.
    """
    try:
        forbidden = _missing_rights(pipeline, cluster, timeout_s)
        facts = gather(ClusterView(cluster, timeout_s), pipeline)
    except ClusterUnreachable as error:
        return [unreachable(error), *_nothing_known("the cluster cannot be asked")]
    except NotAuthorized as refusal:
        return [_hidden(refusal), *_nothing_known("the cluster may not be asked")]
    return [
        *(_hidden(refusal) for refusal in (*forbidden, *facts.refused)),
        *check_cluster(facts, cluster, pipeline),
        *_check_topology(pipeline, cluster, timeout_s),
        *_check_events(pipeline, facts),
        *check_control(pipeline, cluster, facts),
        *_check_schemas(pipeline, cluster, facts, timeout_s),
        *(finding for queue in pipeline.queues.values() for finding in _check_one(facts, queue, pipeline)),
    ]


def _missing_rights(pipeline: Pipeline, cluster: ClusterSettings, timeout_s: float) -> list[NotAuthorized]:
    """The rights on topics that are missing, as one error; raised where topics would seem not to exist."""
    try:
        require_rights(Duty.DOCTOR, pipeline, cluster, timeout_s=timeout_s)
    except NotAuthorized as refusal:
        if any(operation == Operation.DESCRIBE for operation, _ in refusal.missing):
            raise
        return [refusal]
    return []


def _hidden(refusal: NotAuthorized) -> Finding:
    return unknown("", CLUSTER, "this client may not look at everything", str(refusal))


def _nothing_known(why: str) -> list[Finding]:
    return [unknown(guarantee, CLUSTER, why) for guarantee in CHECKABLE]


def is_unreachable(findings: Iterable[Finding]) -> bool:
    """Whether no broker answered."""
    first = next(iter(findings), None)
    return first is not None and first.place == CLUSTER and not first.guarantee and first.verdict is Verdict.BROKEN


def is_barred(findings: Iterable[Finding]) -> bool:
    """Whether this client may not look at everything that it is to look at."""
    return any(not finding.guarantee and finding.verdict is Verdict.UNKNOWN for finding in findings)


def _check_one(facts: Facts, queue: Queue, pipeline: Pipeline) -> Iterator[Finding]:
    yield from check_queue(facts, queue, pipeline)
    yield check_session(facts, queue)


def _check_topology(pipeline: Pipeline, cluster: ClusterSettings, timeout_s: float) -> Iterator[Finding]:
    try:
        verify(pipeline, cluster, timeout_s=timeout_s)
        yield kept("", CLUSTER, "the topics can carry what the application declares")
    except TopologyMismatch as mismatch:
        for finding in mismatch.findings:
            yield broken("", CLUSTER, finding, "run `stoker topology plan`, then `stoker topology apply`")
    except NotAuthorized as forbidden:
        yield unknown("", CLUSTER, "the cluster does not describe the topics", str(forbidden))


def _check_events(pipeline: Pipeline, facts: Facts) -> Iterator[Finding]:
    if not facts.has(pipeline.events_topic):
        observed = f"{pipeline.events_topic} is missing: jobs run, and nobody hears of retries, deaths and blockers"
        yield broken("P10", CLUSTER, observed, "run `stoker topology apply`")
    if not facts.has(pipeline.stats_topic):
        observed = f"{pipeline.stats_topic} is missing: jobs run, and no statistics of them are kept"
        yield unknown("P10", CLUSTER, observed, "run `stoker topology apply`")


def _check_schemas(pipeline: Pipeline, cluster: ClusterSettings, facts: Facts, timeout_s: float) -> Iterator[Finding]:
    if cluster.schema_registry_url is None and not facts.has(pipeline.schemas_topic):
        yield broken("P9", CLUSTER, f"{pipeline.schemas_topic} is missing", "run `stoker topology apply`")
        return
    try:
        store = schema_store(pipeline, cluster)
        try:
            refusals = refused_contracts(pipeline, store, timeout_s=timeout_s)
            yield from (broken("P9", CLUSTER, str(refusal), _FIX_CONTRACT) for refusal in refusals)
            yield _contracts(pipeline, store)
        finally:
            store.close()
    except StoreError as error:
        yield broken(
            "P9", CLUSTER, str(error), "fix the schema store: jobs wait whose schema a worker does not know already"
        )


_FIX_CONTRACT: Final = "workers and producers do not start with it: fix the contract, or give the job a new type"


def _contracts(pipeline: Pipeline, store: SchemaStore) -> Finding:
    absent = [
        name
        for name, job_type in pipeline.job_types.items()
        if job_type.contract.canonical not in {Codec(version.schema).canonical for version in store.versions(name)}
    ]
    if absent:
        return unknown(
            "P9",
            CLUSTER,
            f"these contracts were never registered in this form: {', '.join(absent)}",
            "`stoker topology apply` does it, or a producer at its first job; `stoker schemas check` shows if it will",
        )
    return kept(
        "P9", CLUSTER, f"the schema store holds the contracts of all {counted(len(pipeline.job_types), 'job type')}"
    )
