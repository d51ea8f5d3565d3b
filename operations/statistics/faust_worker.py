"""The Faust process: reads events, has them counted, and writes a snapshot each second. No other module knows Faust.

Faust commits an event's offset only when the brokers have confirmed a snapshot with it. So after any end, the events
since the last snapshot are read again, and each pane knows which of them it has. Nothing is kept in Faust's tables.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import faust
from faust.types import TP, EventT, StreamT

from ...schemas.own_records.statistics_records import StatisticsPosition, encode_position
from ..views.logging_json import JsonFormatter
from ..views.text_log import TextFormatter
from .broker_options import broker_access
from .messages import ProcessBeat, ProcessSettings
from .panes import KEEP_S, FoldCounts, PartitionFold
from .stored import read_stored

_LOGGER = logging.getLogger("stoker.statistics")

SNAPSHOT_S: Final = 1.0
SESSION_S: Final = 10.0
"""A process that was stopped for longer may have lost its partitions, so it ends without writing anything."""
LAST_WRITE_S: Final = 5.0
MOST_UNWRITTEN_BYTES: Final = 128 * 1024 * 1024
"""Events that are counted while a snapshot is on its way: slow brokers take seconds for one, and an hour may wait."""
ROOM_S: Final = 0.05
STOPPED_TOO_LONG: Final = 3
CRASHED: Final = 1
LIBRARIES: Final = {"faust": logging.ERROR, "mode": logging.ERROR, "aiokafka": logging.CRITICAL}
"""{library: from which level on it is logged}: it warns of what is usual, or repeats an outage many times a second."""


class StatisticsApp:
    """A Faust app over the events topic, with the folds of the partitions that it owns; all calls are of its loop."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._settings = settings
        self._folds: dict[int, PartitionFold] = {}
        self._counts = FoldCounts()
        self._unwritten: list[EventT[Any]] = []
        self._unwritten_bytes = 0
        self._restoring, self._writing = asyncio.Lock(), asyncio.Lock()
        self._process = f"{socket.gethostname()}/{os.getpid()}"
        self.app = make_app(settings)
        options: dict[str, Any] = {"key_serializer": "raw", "value_serializer": "raw", "value_type": bytes}
        self._events = self.app.topic(settings.events, **options)
        self._stats = self.app.topic(settings.stats, **options)
        self.app.agent(self._events, name="fold")(self._fold)
        self.app.task(self._write_each_second)
        take: Any = self._take  # a signal's own type cannot be met by any function
        drop: Any = self._drop
        self.app.on_partitions_assigned.connect(take, weak=False)
        self.app.on_partitions_revoked.connect(drop, weak=False)

    # ---- partitions

    async def _take(self, _app: faust.App, assigned: set[TP], **_more: object) -> None:
        for place in sorted(assigned):
            if place.topic == self._settings.events:
                await self._fold_of(place.partition)

    async def _drop(self, _app: faust.App, revoked: set[TP], **_more: object) -> None:
        """Forget partitions that others take over; a snapshot that is on its way arrives before."""
        async with self._writing:
            for place in revoked:
                self._folds.pop(place.partition, None)
            self._unwritten = [event for event in self._unwritten if event.message.partition in self._folds]

    async def _fold_of(self, partition: int) -> PartitionFold:
        found = self._folds.get(partition)
        if found is not None:
            return found
        async with self._restoring:
            if partition not in self._folds:
                packed = await asyncio.to_thread(self._restore, partition)
                at = await self.app.consumer.position(TP(self._settings.events, partition))
                self._folds[partition] = PartitionFold(partition, packed, at or 0, self._counts)
            return self._folds[partition]

    def _restore(self, partition: int) -> dict[tuple[str, int], bytes]:
        """The panes of a partition as they were written last, by whichever process."""
        since = datetime.now(UTC) - timedelta(seconds=KEEP_S)
        stored = read_stored(self._settings.cluster, self._settings.stats, since, self._stats_partition(partition))
        return stored.panes.get(partition, {})

    def _stats_partition(self, partition: int) -> int:
        return partition % self._settings.stats_partitions

    # ---- events

    async def _fold(self, stream: StreamT[bytes]) -> None:
        try:
            async for event in cast("faust.Stream[bytes]", stream).noack().events():
                message = event.message
                fold = self._folds.get(message.partition) or await self._fold_of(message.partition)
                fold.fold(message.offset, event.value, time.time())
                self._unwritten.append(event)
                self._unwritten_bytes += len(event.value or b"")
                while self._unwritten_bytes > MOST_UNWRITTEN_BYTES:
                    await asyncio.sleep(ROOM_S)
        except asyncio.CancelledError:
            if not self.app.should_stop:  # at its end, Faust would log that as an error
                raise

    # ---- snapshots

    async def _write_each_second(self) -> None:
        last_at_s = time.monotonic()
        while not self.app.should_stop:
            await asyncio.sleep(SNAPSHOT_S)
            silent_s = time.monotonic() - last_at_s
            if silent_s > SESSION_S:
                _LOGGER.error("this process was stopped for %.0f s; it ends, and is started again", silent_s)
                os._exit(STOPPED_TOO_LONG)
            await self.write()
            last_at_s = time.monotonic()

    async def write(self) -> None:
        """Write what has changed and how far it is; once confirmed, let Faust commit, and report to the supervisor."""
        async with self._writing:
            now_s = time.time()
            events = self._take_unwritten()
            positions = {number: fold.next_offset for number, fold in self._folds.items()}
            changed = [(number, *record) for number, fold in self._folds.items() for record in fold.changed(now_s)]
            await self._send(changed)
            await self._send([(number, *self._position(number, at)) for number, at in positions.items()])
            for event in events:
                event.ack()
        sys.stdout.write(ProcessBeat(positions=positions, **asdict(self._counts)).to_line())
        sys.stdout.flush()

    def _take_unwritten(self) -> list[EventT[Any]]:
        events, self._unwritten, self._unwritten_bytes = self._unwritten, [], 0
        return events

    async def stop(self) -> None:
        """Write the last snapshot, and end."""
        try:
            await asyncio.wait_for(self.write(), LAST_WRITE_S)
        finally:
            await self.app.stop()

    async def _send(self, records: list[tuple[int, bytes, bytes]]) -> None:
        waits = [
            await self._stats.send(key=key, value=value, partition=self._stats_partition(number))
            for number, key, value in records
        ]
        for wait in waits:
            await wait

    def _position(self, partition: int, offset: int) -> tuple[bytes, bytes]:
        end = self.app.consumer.highwater(TP(self._settings.events, partition))
        position = StatisticsPosition(
            partition=partition,
            offset=offset,
            behind=max((end or 0) - offset, 0),
            at=datetime.now(UTC),
            process=self._process,
        )
        return position.key, encode_position(position)


def make_app(settings: ProcessSettings) -> faust.App:
    """An app that creates no topics, keeps no tables and opens no port."""
    app = faust.App(
        settings.group,
        broker=[f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=_credentials(settings),
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=SESSION_S / 4,
        broker_commit_interval=1.0,
        consumer_group_instance_id=settings.member,
        consumer_auto_offset_reset="earliest",
        producer_compression_type="lz4",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        origin=__name__,
        logging_config=None,
    )
    app.boot_strategy.enable_web = False
    app._create_directories = lambda: None  # type: ignore[method-assign]  # they are for tables, which it has none of
    return app


def _credentials(settings: ProcessSettings) -> Any:
    access = broker_access(settings.options)
    if access.mechanism:
        return faust.SASLCredentials(
            username=access.username, password=access.password, mechanism=access.mechanism, ssl_context=access.tls
        )
    return None if access.tls is None else faust.SSLCredentials(context=access.tls)


async def run(settings: ProcessSettings) -> int:
    """Run until SIGTERM; the exit code."""
    statistics = StatisticsApp(settings)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(statistics.stop()))
    await statistics.app.start()
    await statistics.app.wait_until_stopped()
    return CRASHED if statistics.app.crashed else 0


def main() -> None:
    """Read the settings, and end with the supervisor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl+C is for the supervisor
    settings = ProcessSettings.from_line(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_supervisor, name="stoker-statistics-parent", daemon=True).start()
    _log_to_stderr(settings)
    os._exit(asyncio.run(run(settings)))


def _log_to_stderr(settings: ProcessSettings) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_json else TextFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    for library, level in LIBRARIES.items():
        logging.getLogger(library).setLevel(logging.DEBUG if settings.log_level == "debug" else level)


def _end_with_supervisor() -> None:
    """End when the supervisor's end of the pipe closes, which it does however that process ends."""
    sys.stdin.buffer.read()
    os._exit(CRASHED)


if __name__ == "__main__":
    main()
