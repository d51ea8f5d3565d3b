"""`StoryArguments`: the arguments of a dead or late job as JSON text, for its story."""

from __future__ import annotations

import json
from typing import Final

from ...schemas import DecodeError, Decoder, SchemaStore, StoreError, wire_text
from ...schemas.json_data import JsonObject
from ...topology import AnyJobType
from ...topology.wire.headers import JOB_TYPE
from ..records.record import Record

LONGEST_JSON_BYTES: Final = 64 * 1024
"""A story without its arguments is a page all the same; one that is too large for its topic is none."""


class StoryArguments:
    """Reads payloads by the schemas that the store knows by now: the settler waits for no other."""

    def __init__(self, store: SchemaStore) -> None:
        self._decoder = Decoder(store, learn=lambda _: None)

    def of(self, record: Record, job_type: AnyJobType | None) -> str | None:
        """The arguments; None where the payload cannot be read, is too large, or is not to be shown."""
        if job_type is not None and not job_type.story_arguments:
            return None
        try:
            text = json.dumps(self._payload(record, job_type), ensure_ascii=False)
        except (DecodeError, StoreError):
            return None
        return text if len(text.encode()) <= LONGEST_JSON_BYTES else None

    def _payload(self, record: Record, job_type: AnyJobType | None) -> JsonObject:
        """The payload as today's contract reads it, or else as it was written."""
        if job_type is not None:
            try:
                return job_type.contract.to_json(self._decoder.decode(job_type.contract, record.value))
            except DecodeError:
                pass
        return self._decoder.decode_as_written(record.value, wire_text(record.header(JOB_TYPE)))[1]
