"""The id of a replay, and the headers with which it publishes a job again."""

from __future__ import annotations

import uuid_utils

from ...topology.wire import headers as wire
from ...topology.wire.headers import RETRY_HEADERS
from ..stored_jobs.stored_job import RawHeaders, StoredJob


def new_action_id() -> str:
    """A fresh id of a replay or discard: a UUIDv7, so that ids sort by the time of their start."""
    return str(uuid_utils.uuid7())


def republished_headers(record: StoredJob, replay_id: str, *, keep_expiry: bool = True) -> RawHeaders:
    """The headers of a job that goes back to its queue: attempts start anew, the replay is named, the rest stays."""
    dropped = RETRY_HEADERS | {wire.REPLAY} | (frozenset() if keep_expiry else {wire.EXPIRES})
    return [pair for pair in record.raw_headers if pair[0] not in dropped] + [(wire.REPLAY, replay_id.encode())]
