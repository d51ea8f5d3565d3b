"""The dead-letter desk's reading side: which letters a queue has, which of them are open, and all about one of them.

The topic is streamed, twice: dispositions first, then letters, because a disposition comes after its letter. So memory
holds a few bytes for each offset and the letter at hand, whatever the backlog. Twins (`twins.py`) are one letter: the
first of them stands for all, and what was done with one of them was done with all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...topology import ClusterSettings, Queue
from .dispositions import Disposition, SettledLetters, Verdict, disposition_of, is_disposition
from .errors import NoSuchLetter
from .job_record import JobRecord, Ref, parse_ref, record_of
from .selection import Selection
from .topic_reader import ReadProgress, Span, TopicReader
from .twins import Repetitions, Twins, attempt_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter and what was done with it; no verdicts means that it is open.

    Attributes:
        twins: where else the topic has it, after this place.
    """

    record: JobRecord
    verdicts: Sequence[Verdict]
    twins: Sequence[Ref] = ()

    @property
    def status(self) -> str:
        """`open`, or the verdicts."""
        return ", ".join(verdict.value for verdict in self.verdicts) or "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFile:
    """One letter with its dispositions, oldest first, and the other places where the topic has it."""

    record: JobRecord
    dispositions: Sequence[Disposition]
    twins: Sequence[Ref] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskView:
    """The dead letters as of one moment: what comes later is not part of it.

    Attributes:
        spans: what the topic held, one for each partition.
        settled: from all dispositions inside the spans.
        twins: letters inside the spans that are one.
    """

    spans: Sequence[Span]
    settled: SettledLetters
    twins: Twins

    def verdicts(self, ref: Ref) -> list[Verdict]:
        """All verdicts on a letter or on a twin of it; empty while it is open."""
        given = {verdict for twin in self.twins.of(ref) for verdict in self.settled.verdicts(twin)}
        return [verdict for verdict in Verdict if verdict in given]

    def is_done_by_action(self, ref: Ref) -> bool:
        """Whether the action given to the survey has settled the letter or a twin of it."""
        return any(self.settled.is_done_by_action(twin) for twin in self.twins.of(ref))


class DeadLetterDesk:
    """Reads the dead letters of one queue. It holds no connection between calls."""

    def __init__(self, cluster: ClusterSettings, queue: Queue) -> None:
        self.queue, self._cluster = queue, cluster

    def survey(self, progress: ReadProgress | None = None, *, action_id: str | None = None) -> DeskView:
        """Find out which letters are settled, as of now.

        Args:
            action_id: also find out which ones this replay has settled.

        Raises:
            TopicAbsent, ReadStalled, ClusterUnreachable: the topic cannot be read.
        """
        with TopicReader(self._cluster, self.queue.dead_topic) as reader:
            spans = reader.spans()
            settled = SettledLetters({span.partition: span.start for span in spans}, action_id=action_id)
            repetitions = Repetitions(sum(span.length for span in spans))
            for record in map(record_of, reader.read(spans, progress)):
                if not is_disposition(record):
                    repetitions.note(record)
                elif (disposition := disposition_of(record)) is not None:
                    settled.note(disposition)
            doubtful = [span for span in spans if span.partition in repetitions.partitions]
            twins = repetitions.twins(_letters(reader, doubtful, progress))
            return DeskView(spans=spans, settled=settled, twins=twins)

    def letters(
        self, view: DeskView, selection: Selection, *, settled_too: bool = False, progress: ReadProgress | None = None
    ) -> Iterator[Letter]:
        """Yield the selected letters of the view, each partition in its order, of twins the first.

        Keeping the limit is left to the caller, who knows which letters count; but where there is one, the partitions
        come one after the other, so that two readings of a view yield the same letters.
        """
        with TopicReader(self._cluster, self.queue.dead_topic) as reader:
            for record in _records(reader, view, selection, progress):
                if not view.twins.is_first(record.ref):
                    continue
                verdicts, places = view.verdicts(record.ref), view.twins.of(record.ref)
                if (settled_too or not verdicts) and selection.takes(record, places):
                    yield Letter(record=record, verdicts=verdicts, twins=places[1:])

    def file(self, wanted: str) -> LetterFile:
        """Everything about one letter, named by `partition/offset` or by job id (the latest death, of twins the first).

        Raises:
            NoSuchLetter: nothing of that name.
        """
        found = self._find(wanted)
        digest, letters, dispositions = attempt_digest(found), {found.ref: found}, list[Disposition]()
        with TopicReader(self._cluster, self.queue.dead_topic) as reader:
            whole = [span for span in reader.spans() if span.partition == found.ref.partition]
            for record in map(record_of, reader.read(whole)):
                disposition = disposition_of(record)
                if disposition is not None:
                    dispositions += [disposition] if disposition.settles in letters else []
                elif digest is not None and attempt_digest(record) == digest:
                    letters[record.ref] = record
        shown = found if parse_ref(wanted) else letters[min(letters)]
        return LetterFile(record=shown, dispositions=dispositions, twins=sorted(letters.keys() - {shown.ref}))

    def _find(self, wanted: str) -> JobRecord:
        ref = parse_ref(wanted)
        with TopicReader(self._cluster, self.queue.dead_topic) as reader:
            spans = [span for span in (_narrowed(span, ref) for span in reader.spans()) if span.length]
            latest: JobRecord | None = None
            for record in map(record_of, reader.read(spans)):
                fits = ref == record.ref if ref is not None else record.job_id == wanted
                if fits and not is_disposition(record) and (latest is None or record.at >= latest.at):
                    latest = record
        if latest is None:
            raise NoSuchLetter(self.queue.dead_topic, wanted)
        return latest


def _narrowed(span: Span, ref: Ref | None) -> Span:
    """The part of a span that can hold the reference; empty where it cannot."""
    if ref is None:
        return span
    if ref.partition != span.partition or not span.start <= ref.offset < span.end:
        return Span(partition=span.partition, start=span.start, end=span.start)
    return Span(partition=span.partition, start=ref.offset, end=ref.offset + 1)


def _letters(reader: TopicReader, spans: Sequence[Span], progress: ReadProgress | None) -> Iterator[JobRecord]:
    return (record for record in map(record_of, reader.read(spans, progress)) if not is_disposition(record))


def _records(
    reader: TopicReader, view: DeskView, selection: Selection, progress: ReadProgress | None
) -> Iterator[JobRecord]:
    spans = [span for span in view.spans if selection.may_hold(span.partition)]
    courses = [spans] if selection.limit is None else [[span] for span in spans]
    for course in courses:
        yield from _letters(reader, course, progress)
