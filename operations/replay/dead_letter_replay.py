"""Replay and discard of dead letters: a disposition is written in one transaction with its effect.

A replay publishes {the job to the topic of its priority, the disposition to the dead-letter topic}, both or none, so
that a dead letter counts as replayed exactly when its job is back in the queue. However often the process is killed and
started again, it publishes an open dead letter once, and a settled one only when the request asks for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Protocol, assert_never

from ...topology import ClusterSettings, Pipeline, Queue
from ...topology.actor import Actor
from ...topology.wire import headers as wire
from ..stored_jobs.dead_letters import DeadLetterReader, DeadLetterView
from ..stored_jobs.dispositions import Disposition, DispositionVerdict
from ..stored_jobs.errors import CorrectionsRefused, RefusedCorrection
from ..stored_jobs.originals import Originals
from ..stored_jobs.selection import Selection
from ..stored_jobs.stored_job import Ref, StoredJob
from ..stored_jobs.tally import GroupTally
from ..stored_jobs.topic_reader import ReadProgress, require_topics
from .audit import Action, AuditTrail
from .corrections import Correction
from .pacing import Published, ReplayPace, publish_paced
from .payloads import LeftOut, PayloadCorrector, Prepared, ReadyPayload
from .republishing import new_action_id, republished_headers
from .transactions import TransactionalPublisher
from .units import Outgoing, Unit

SHOWN_REFUSALS: Final = 20
SHOWN_CORRECTIONS: Final = 20
ORIGINAL_GONE: Final = (
    "it is truncated, and its original is not at the place that it names: that topic's retention has taken it, or the "
    "topic was created again. Enqueue the job again where its data came from, then discard the dead letter"
)
MAX_REASONS: Final = 100
OTHER_REASONS: Final = "(other reasons)"
"""Where dead letters are counted once there are `MAX_REASONS` reasons to leave dead letters out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The dead letters to be treated, and how.

    Attributes:
        settled_too: also dead letters that were replayed or discarded before, except by this very action.
        action_id: id of the replay or discard; give that of an earlier one to continue it.
        keep_expiry: leave the jobs' expiry in force.
        reason: the operator's.
    """

    selection: Selection
    settled_too: bool = False
    action_id: str = field(default_factory=new_action_id)
    keep_expiry: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The effect of a request as of one moment; dead letters that died later are not part of it.

    Attributes:
        tally: the dead letters it would settle.
        left_out: {reason: dead letters that cannot be published as they are}.
        settled_before: how many of the tally were settled before and would be published again.
        expired: how many of the tally a worker would drop for their expiry.
        corrections: what is changed in the payloads of the first dead letters; empty where nothing is corrected.
        corrected: how many dead letters are corrected.
        passed_over: named dead letters that were settled before, where they are the reason that nothing is to do.
    """

    view: DeadLetterView
    tally: GroupTally
    left_out: Counter[str]
    settled_before: int
    expired: int
    corrections: tuple[Correction, ...] = ()
    corrected: int = 0
    passed_over: int = 0

    @property
    def total(self) -> int:
        """How many dead letters it would settle."""
        return self.tally.total


class Treatment(Protocol):
    """The treatment of a dead letter: the difference between replay and discard."""

    verdict: DispositionVerdict
    action: Action
    target_topics: tuple[str, ...]
    """Where jobs are published to."""

    def prepare(self, record: StoredJob) -> Prepared:
        """Decide whether the dead letter is settled, and with which payload."""
        ...

    def correction(self, record: StoredJob, prepared: ReadyPayload) -> Correction | None:
        """The changes in the payload; None where nothing is corrected."""
        ...

    def begin(self) -> None:
        """Do what must be done before the first dead letter is settled."""
        ...

    def outgoing(self, record: StoredJob, prepared: ReadyPayload, request: Request) -> tuple[Outgoing, ...]:
        """The records that are published beside the disposition."""
        ...


class Replaying:
    """Publish the job to the topic of its priority; of a truncated dead letter the original, or nothing."""

    verdict = DispositionVerdict.REPLAYED
    action = Action.DEAD_REPLAY

    def __init__(self, queue: Queue, payloads: PayloadCorrector, originals: Originals) -> None:
        self._queue, self._payloads, self._originals = queue, payloads, originals
        self.target_topics: tuple[str, ...] = tuple(queue.entry_topics)

    def prepare(self, record: StoredJob) -> Prepared:
        """Check the payload, or correct it."""
        whole = self._originals.whole(record)
        if whole is None:
            return LeftOut(reason=ORIGINAL_GONE)
        prepared = self._payloads.prepare(whole)
        return (
            replace(prepared, whole=whole) if isinstance(prepared, ReadyPayload) and whole is not record else prepared
        )

    def correction(self, record: StoredJob, prepared: ReadyPayload) -> Correction | None:
        """Compare the payload with what is published."""
        found = self._payloads.correction(prepared.whole or record, prepared)
        return None if found is None else replace(found, ref=str(record.ref))

    def begin(self) -> None:
        """Register the contracts of what was corrected."""
        self._payloads.register_corrected()

    def outgoing(self, record: StoredJob, prepared: ReadyPayload, request: Request) -> tuple[Outgoing, ...]:
        """The job, in its old partition."""
        whole = prepared.whole or record
        headers = republished_headers(whole, request.action_id, keep_expiry=request.keep_expiry)
        job = Outgoing(
            topic=self._queue.topic_of(wire.priority_of(whole.headers)),
            partition=record.ref.partition,
            key=whole.key,
            value=self._payloads.value_of(prepared),
            headers=headers,
        )
        return (job,)


class Discarding:
    """Write the dead letter off; it stays readable until the topic's retention takes it."""

    verdict = DispositionVerdict.DISCARDED
    action = Action.DEAD_DISCARD
    target_topics: tuple[str, ...] = ()

    def prepare(self, record: StoredJob) -> Prepared:
        """Any dead letter can be discarded."""
        return ReadyPayload(value=None)

    def correction(self, record: StoredJob, prepared: ReadyPayload) -> Correction | None:
        """Nothing is published, so nothing is corrected."""
        return None

    def begin(self) -> None:
        """Nothing has to be done."""

    def outgoing(self, record: StoredJob, prepared: ReadyPayload, request: Request) -> tuple[Outgoing, ...]:
        """Nothing beside the disposition."""
        return ()


class DeadLetterManager:
    """Carries out requests on the dead letters of one queue."""

    def __init__(
        self,
        pipeline: Pipeline,
        cluster: ClusterSettings,
        queue: Queue,
        treatment: Treatment,
        *,
        actor: Actor | None = None,
    ) -> None:
        """Prepare, without connecting yet.

        Args:
            actor: who replays or discards, and from where; None takes that of the process.
        """
        self._pipeline, self._cluster, self._queue, self._treatment = pipeline, cluster, queue, treatment
        self._actor = actor or Actor.of_process()
        self._reader = DeadLetterReader(cluster, queue)
        self.verdict = treatment.verdict

    def forecast(self, request: Request, progress: ReadProgress | None = None) -> Forecast:
        """Count what the request would do. Nothing is written, and a replay that runs is not disturbed.

        Raises:
            CorrectionsRefused: a corrected payload does not fit its schema.
            IncompatibleSchema, StoreError: the contract of a corrected payload cannot be registered, or asked for.
            TopicAbsent, ReadStalled: the dead letters cannot be read.
        """
        view = self._reader.survey(progress, action_id=request.action_id)
        count = _Count(now=datetime.now(UTC))
        for record, prepared in self._prepared(request, view):
            count.note(record, prepared, is_settled=bool(view.verdicts(record.ref)))
            if isinstance(prepared, ReadyPayload) and len(count.corrections) < SHOWN_CORRECTIONS:
                count.correct(self._treatment.correction(record, prepared))
        if count.refused_total:
            raise CorrectionsRefused(count.refused, count.refused_total)
        return Forecast(
            view=view,
            tally=count.tally,
            left_out=count.left_out,
            settled_before=count.settled_before,
            expired=count.expired if request.keep_expiry else 0,
            corrections=tuple(count.corrections),
            corrected=count.tally.total if count.corrections else 0,
            passed_over=0 if count.tally.total or request.settled_too else self._settled_and_named(request, view),
        )

    def _settled_and_named(self, request: Request, view: DeadLetterView) -> int:
        """How many dead letters the request names, by place or id, that were settled before."""
        if not (request.selection.refs or request.selection.ids):
            return 0
        dead_letters = self._reader.dead_letters(view, request.selection, settled_too=True)
        return sum(bool(dead_letter.verdicts) for dead_letter in dead_letters)

    def carry_out(
        self,
        request: Request,
        forecast: Forecast,
        pace: ReplayPace,
        on_progress: Callable[[Published], None] | None = None,
    ) -> Published:
        """Settle the dead letters of the forecast that are still open.

        Raises:
            Fenced: another replay or discard of this queue began meanwhile; all committed batches stand.
            PublishFailed: a transaction could not be completed; starting again is safe.
            TopicAbsent: the topology is not complete; nothing was published.
            IncompatibleSchema, StoreError: as with `forecast`; nothing was published.
        """
        require_topics(
            self._cluster, self._queue.dead_topic, self._pipeline.audit_topic, *self._treatment.target_topics
        )
        self._treatment.begin()
        with TransactionalPublisher(self._cluster, self._queue.dead_topic) as publisher:
            now = self._reader.survey(action_id=request.action_id)  # only now is the last one's end final
            trail = AuditTrail(publisher, self._pipeline, self._queue, self._actor, self._treatment.action)
            trail.begin(
                request.action_id,
                counts=forecast.tally.by_job_type(),
                filters=request.selection.in_words(),
                reason=request.reason,
                corrections=forecast.corrections,
            )
            published = publish_paced(publisher, self._units(request, forecast.view, now, pace), pace, on_progress)
            trail.end(published)
        return published

    def _prepared(
        self, request: Request, view: DeadLetterView, progress: ReadProgress | None = None
    ) -> Iterator[tuple[StoredJob, Prepared]]:
        """The dead letters of the request as of the view; only those that can be settled count towards its limit."""
        ready = 0
        for dead_letter in self._reader.dead_letters(
            view, request.selection, settled_too=request.settled_too, progress=progress
        ):
            if view.is_done_by_action(dead_letter.record.ref):
                continue
            prepared = self._treatment.prepare(dead_letter.record)
            yield dead_letter.record, prepared
            ready += isinstance(prepared, ReadyPayload)
            if ready == request.selection.limit:
                return

    def _units(self, request: Request, view: DeadLetterView, now: DeadLetterView, pace: ReplayPace) -> Iterator[Unit]:
        """The units to be published: the dead letters of the view, without those that were settled since."""
        for record, prepared in self._prepared(request, view, pace.break_off_once_stopped):
            done = now.is_done_by_action(record.ref) if request.settled_too else now.verdicts(record.ref)
            if isinstance(prepared, ReadyPayload) and not done:
                jobs = self._treatment.outgoing(record, prepared, request)
                dispositions = (self._disposition(record, twin, request) for twin in now.twins.of(record.ref))
                yield Unit(label=str(record.ref), records=(*jobs, *dispositions))

    def _disposition(self, record: StoredJob, settles: Ref, request: Request) -> Outgoing:
        disposition = Disposition(
            settles=settles,
            verdict=self._treatment.verdict,
            action_id=request.action_id,
            operator=str(self._actor),
            reason=request.reason,
        )
        return Outgoing(
            topic=self._queue.dead_topic,
            partition=record.ref.partition,
            key=record.key,
            value=None,
            headers=disposition.headers(),
        )


@dataclass(slots=True, kw_only=True)
class _Count:
    """The sums of a forecast while it is made."""

    now: datetime
    tally: GroupTally = field(default_factory=GroupTally)
    left_out: Counter[str] = field(default_factory=Counter)
    refused: list[RefusedCorrection] = field(default_factory=list)
    refused_total: int = 0
    settled_before: int = 0
    expired: int = 0
    corrections: list[Correction] = field(default_factory=list)

    def correct(self, correction: Correction | None) -> None:
        self.corrections += [] if correction is None else [correction]

    def note(self, record: StoredJob, prepared: Prepared, *, is_settled: bool) -> None:
        match prepared:
            case ReadyPayload():
                self.tally.note(record)
                self.settled_before += is_settled
                self.expired += record.is_expired(self.now)
            case LeftOut(reason=reason):
                is_counted = reason in self.left_out or len(self.left_out) < MAX_REASONS
                self.left_out[reason if is_counted else OTHER_REASONS] += 1
            case RefusedCorrection():
                self.refused_total += 1
                self.refused += [prepared] if len(self.refused) < SHOWN_REFUSALS else []
            case _:
                assert_never(prepared)
