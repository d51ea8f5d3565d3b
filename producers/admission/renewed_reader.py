"""`RenewedReader`: reads a queue's depth, with other clients where those that it has fail for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from .depth import Depth, DepthReader

RENEW_AFTER_S: Final = 10.0
"""How long readings fail before other clients ask. After an outage a client may never find its brokers again, by a
fault of librdkafka (`topology/cluster/forgotten_brokers.py`)."""


class RenewedReader:
    """A `DepthReader` that connects with the first reading, and outlives each outage.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, make: Callable[[], DepthReader], clock: Callable[[], float] = time.monotonic) -> None:
        self._make, self._clock = make, clock
        self._reader: DepthReader | None = None
        self._failed_at_s: float | None = None

    def read(self) -> Depth:
        """See DepthReader."""
        try:
            if self._reader is None:
                self._reader = self._make()
            depth = self._reader.read()
        except Exception:
            self._note_failed()
            raise
        self._failed_at_s = None
        return depth

    def _note_failed(self) -> None:
        now_s = self._clock()
        if self._failed_at_s is None:
            self._failed_at_s = now_s
        if now_s - self._failed_at_s >= RENEW_AFTER_S:
            self.close()
            self._reader = self._failed_at_s = None

    def close(self) -> None:
        """See DepthReader."""
        if self._reader is not None:
            self._reader.close()
