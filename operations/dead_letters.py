"""The dead-letter desk's reading side: which letters a queue has, which of them are open, and all about one of them.

The topic is streamed, twice: dispositions first, then letters, because a disposition comes after its letter. So memory
holds one bit for each offset and the letter at hand, whatever the backlog.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..topology import ClusterSettings, Queue
from .desk_errors import NoSuchLetter
from .dispositions import Disposition, SettledLetters, Verdict, disposition_of, is_disposition, settled_from
from .job_record import JobRecord, Ref, parse_ref, record_of
from .selection import Selection
from .topic_reader import ReadProgress, Span, TopicReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter and what was done with it; no verdicts means that it is open."""

    record: JobRecord
    verdicts: Sequence[Verdict]

    @property
    def status(self) -> str:
        """`open`, or the verdicts."""
        return ", ".join(verdict.value for verdict in self.verdicts) or "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFile:
    """One letter with its dispositions, oldest first."""

    record: JobRecord
    dispositions: Sequence[Disposition]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskView:
    """The dead letters as of one moment: what comes later is not part of it.

    Attributes:
        spans: what the topic held, one for each partition.
        settled: from all dispositions inside the spans.
    """

    spans: Sequence[Span]
    settled: SettledLetters


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
            records = map(record_of, reader.read(spans, progress))
            firsts = {span.partition: span.start for span in spans}
            return DeskView(spans=spans, settled=settled_from(records, firsts, action_id=action_id))

    def letters(
        self, view: DeskView, selection: Selection, *, settled_too: bool = False, progress: ReadProgress | None = None
    ) -> Iterator[Letter]:
        """Yield the selected letters of the view, each partition in its order.

        Keeping the limit is left to the caller, who knows which letters count; but where there is one, the partitions
        come one after the other, so that two readings of a view yield the same letters.
        """
        with TopicReader(self._cluster, self.queue.dead_topic) as reader:
            for record in _records(reader, view, selection, progress):
                verdicts = view.settled.verdicts(record.ref)
                if not is_disposition(record) and (settled_too or not verdicts) and selection.takes(record):
                    yield Letter(record=record, verdicts=verdicts)

    def file(self, wanted: str) -> LetterFile:
        """Everything about one letter, named by `partition/offset` or by job id (the latest with that id).

        Raises:
            NoSuchLetter: nothing of that name.
        """
        record = self._find(wanted)
        with TopicReader(self._cluster, self.queue.dead_topic) as reader:
            later = [span for span in reader.spans() if span.partition == record.ref.partition]
            rest = [Span(partition=span.partition, start=record.ref.offset, end=span.end) for span in later]
            found = (disposition_of(record_of(message)) for message in reader.read(rest))
            mine = [one for one in found if one is not None and one.settles == record.ref]
        return LetterFile(record=record, dispositions=mine)

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


def _records(
    reader: TopicReader, view: DeskView, selection: Selection, progress: ReadProgress | None
) -> Iterator[JobRecord]:
    spans = [span for span in view.spans if selection.may_hold(span.partition)]
    courses = [spans] if selection.limit is None else [[span] for span in spans]
    for course in courses:
        yield from map(record_of, reader.read(course, progress))
