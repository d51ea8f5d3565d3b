"""The records of the ledger's topic: completed jobs and many moved ones in batches, all others one by one.

A record for each completed job would cost the worker and the brokers a good part of what the job itself does, and a
record for each that moved on would make a restart slow. A batch has a key that never comes again, so that compaction
keeps it until it is past the ledger's age.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import uuid4

from ...schemas import Undecodable, decode_own, encode_own, is_own
from ..unique.ends import ENDED_KEY

BATCH_NAMES: Final = 500
"""A name has 1,000 bytes at the most, so that a batch stays below the brokers' usual limit of a mebibyte."""

_BATCH_KEY: Final = b"batch:"

KeyAndValue = tuple[bytes, bytes]


def batch_record(names: Sequence[str], at: datetime) -> KeyAndValue:
    """Write names of completed jobs, or of what moved on, at most `BATCH_NAMES`."""
    return _BATCH_KEY + uuid4().hex.encode(), encode_own("LedgerBatch", {"names": names, "at": at})


def entry_record(name: str, state: str, at: datetime) -> KeyAndValue:
    """Write one name with its outcome, a `LedgerState`."""
    return name.encode(), encode_own("LedgerEntry", {"outcome": state, "at": at})


def names_of(key: bytes, value: bytes) -> Sequence[str]:
    """Read the names that a record of the ledger's topic settles.

    Raises:
        Undecodable: it is a batch, and its names cannot be read.
    """
    if key.startswith(ENDED_KEY) and is_own("UniqueEnd", value):
        return ()
    if is_own("LedgerBatch", value):
        names: list[str] = decode_own("LedgerBatch", value)["names"]
        return names
    if key.startswith(_BATCH_KEY) and not is_own("LedgerEntry", value):
        raise Undecodable("it is a batch by its key, and not by its value")
    return (key.decode("utf-8", "backslashreplace"),)
