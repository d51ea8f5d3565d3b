"""Read the dead letters of a queue: which it has, which of them are open, and all about one of them.

The reader streams the topic twice, first for dispositions and then for dead letters, because a disposition comes after
its dead letter. So memory holds a few bytes for each offset and the dead letter at hand, whatever the backlog. Twins
(`twins.py`) count as one dead letter: the first of them stands for all, and a disposition of one settles all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...topology import ClusterSettings, Queue
from .dispositions import Disposition, DispositionVerdict, SettledDeadLetters, disposition_of, is_disposition
from .errors import NoSuchDeadLetter
from .selection import Selection
from .stored_job import Ref, StoredJob, parse_ref, record_of
from .topic_reader import ReadProgress, Span, TopicReader
from .twins import PossibleTwins, Twins, attempt_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A dead letter and what was done with it; no verdicts means that it is open.

    Attributes:
        twins: where else the topic has it, after this place.
    """

    record: StoredJob
    verdicts: Sequence[DispositionVerdict]
    twins: Sequence[Ref] = ()

    @property
    def status(self) -> str:
        """`open`, or the verdicts."""
        return ", ".join(verdict.value for verdict in self.verdicts) or "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterHistory:
    """One dead letter with its dispositions, oldest first, and the other places where the topic has it."""

    record: StoredJob
    dispositions: Sequence[Disposition]
    twins: Sequence[Ref] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterView:
    """The dead letters as of one moment: what comes later is not part of it.

    Attributes:
        spans: what the topic held, one for each partition.
        settled: from all dispositions inside the spans.
        twins: dead letters inside the spans that are one.
    """

    spans: Sequence[Span]
    settled: SettledDeadLetters
    twins: Twins

    def verdicts(self, ref: Ref) -> list[DispositionVerdict]:
        """All verdicts on a dead letter or on a twin of it; empty while it is open."""
        given = {verdict for twin in self.twins.of(ref) for verdict in self.settled.verdicts(twin)}
        return [verdict for verdict in DispositionVerdict if verdict in given]

    def is_done_by_action(self, ref: Ref) -> bool:
        """Whether the action given to the survey has settled the dead letter or a twin of it."""
        return any(self.settled.is_done_by_action(twin) for twin in self.twins.of(ref))


class DeadLetterReader:
    """Reads the dead letters of one queue. It holds no connection between calls."""

    def __init__(self, cluster: ClusterSettings, queue: Queue) -> None:
        self.queue, self._cluster = queue, cluster

    def survey(self, progress: ReadProgress | None = None, *, action_id: str | None = None) -> DeadLetterView:
        """Find out which dead letters are settled, as of now.

        Args:
            action_id: also find out which ones this replay has settled.

        Raises:
            TopicAbsent, ReadStalled, ClusterUnreachable: the topic cannot be read.
        """
        with TopicReader(self._cluster, self.queue.dead_topic) as reader:
            spans = reader.spans()
            settled = SettledDeadLetters({span.partition: span.start for span in spans}, action_id=action_id)
            possible = PossibleTwins(sum(span.length for span in spans))
            for record in map(record_of, reader.read(spans, progress)):
                if not is_disposition(record):
                    possible.note(record)
                elif (disposition := disposition_of(record)) is not None:
                    settled.note(disposition)
            doubtful = [span for span in spans if span.partition in possible.partitions]
            twins = possible.twins(_dead_letters(reader, doubtful, progress))
            return DeadLetterView(spans=spans, settled=settled, twins=twins)

    def dead_letters(
        self,
        view: DeadLetterView,
        selection: Selection,
        *,
        settled_too: bool = False,
        progress: ReadProgress | None = None,
    ) -> Iterator[DeadLetter]:
        """Yield the selected dead letters of the view, each partition in its order, of twins the first.

        The caller keeps the limit, since it knows which dead letters count. Where there is one, the partitions come one
        after the other, so that two readings of a view yield the same dead letters.
        """
        with TopicReader(self._cluster, self.queue.dead_topic) as reader:
            for record in _records(reader, view, selection, progress):
                if not view.twins.is_first(record.ref):
                    continue
                verdicts, places = view.verdicts(record.ref), view.twins.of(record.ref)
                if (settled_too or not verdicts) and selection.takes(record, places):
                    yield DeadLetter(record=record, verdicts=verdicts, twins=places[1:])

    def history(self, wanted: str) -> DeadLetterHistory:
        """Everything about one dead letter, named by `partition/offset` or by job id (the latest, of twins the first).

        Raises:
            NoSuchDeadLetter: nothing of that name.
        """
        found = self._find(wanted)
        digest, dead_letters, dispositions = attempt_digest(found), {found.ref: found}, list[Disposition]()
        with TopicReader(self._cluster, self.queue.dead_topic) as reader:
            whole = [span for span in reader.spans() if span.partition == found.ref.partition]
            for record in map(record_of, reader.read(whole)):
                disposition = disposition_of(record)
                if disposition is not None:
                    dispositions += [disposition] if disposition.settles in dead_letters else []
                elif digest is not None and attempt_digest(record) == digest:
                    dead_letters[record.ref] = record
        shown = found if parse_ref(wanted) else dead_letters[min(dead_letters)]
        return DeadLetterHistory(
            record=shown, dispositions=dispositions, twins=sorted(dead_letters.keys() - {shown.ref})
        )

    def _find(self, wanted: str) -> StoredJob:
        ref = parse_ref(wanted)
        with TopicReader(self._cluster, self.queue.dead_topic) as reader:
            spans = [span for span in (_narrowed(span, ref) for span in reader.spans()) if span.length]
            latest: StoredJob | None = None
            for record in map(record_of, reader.read(spans)):
                fits = ref == record.ref if ref is not None else record.job_id == wanted
                if fits and not is_disposition(record) and (latest is None or record.at >= latest.at):
                    latest = record
        if latest is None:
            raise NoSuchDeadLetter(self.queue.dead_topic, wanted)
        return latest


def _narrowed(span: Span, ref: Ref | None) -> Span:
    """The part of a span that can hold the reference; empty where it cannot."""
    if ref is None:
        return span
    if ref.partition != span.partition or not span.start <= ref.offset < span.end:
        return Span(partition=span.partition, start=span.start, end=span.start)
    return Span(partition=span.partition, start=ref.offset, end=ref.offset + 1)


def _dead_letters(reader: TopicReader, spans: Sequence[Span], progress: ReadProgress | None) -> Iterator[StoredJob]:
    return (record for record in map(record_of, reader.read(spans, progress)) if not is_disposition(record))


def _records(
    reader: TopicReader, view: DeadLetterView, selection: Selection, progress: ReadProgress | None
) -> Iterator[StoredJob]:
    spans = [span for span in view.spans if selection.may_hold(span.partition)]
    courses = [spans] if selection.limit is None else [[span] for span in spans]
    for course in courses:
        yield from _dead_letters(reader, course, progress)
