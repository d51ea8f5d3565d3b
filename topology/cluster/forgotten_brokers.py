"""Gives clients the brokers' addresses again where librdkafka has forgotten them.

A broker that stops or starts may answer that no broker is up. librdkafka from 2.10 on then forgets all that it knows,
and begins anew with the given addresses. By a race in it (its issue 5301, open in 2.16) it may never begin: that client
alone is cut off for good, while the brokers are up again. A worker's consumer then neither commits nor heartbeats.

So each lasting client is given the addresses again some seconds after it has reported that all brokers are down.
librdkafka has a call for that, `rd_kafka_brokers_add`, which may come at any time, from any thread, and changes nothing
where the addresses are known. confluent-kafka does not pass it on, so it is made here by ctypes, with the handle that
follows the head of each client object. Where library or handle are not as in the versions that this was tested with,
nothing is called.
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, Producer

REMIND_AFTER_S: Final = (2.0, 6.0, 15.0, 40.0)
"""After the last report that all brokers are down."""
_FIRST_FORGETFUL: Final = 0x020A0000
_LAST_TESTED: Final = 0x0210FFFF
_DEFAULT_NAME: Final = "rdkafka"

ErrorTaker = Callable[[KafkaError], None]


class LastingConsumer(Consumer):
    """A consumer that is given its brokers again where it has forgotten them."""

    def close(self) -> None:
        """Leave the group, and end."""
        _REMINDER.forget(self)
        super().close()


class LastingProducer(Producer):
    """A producer that is given its brokers again where it has forgotten them."""


Lasting = TypeVar("Lasting", LastingConsumer, LastingProducer)


def lasting(kind: type[Lasting], config: Mapping[str, object]) -> Lasting:
    """Make a client that outlives each outage; its `error_cb` is called as ever."""
    told = _Told(config)
    client = kind({**config, "error_cb": told.note})
    told.client = weakref.ref(client)
    return client


class _Told:
    """Takes the errors of one client."""

    def __init__(self, config: Mapping[str, object]) -> None:
        self.client: Callable[[], object | None] = lambda: None
        self.servers = str(config.get("bootstrap.servers", ""))
        self.name = str(config.get("client.id", _DEFAULT_NAME))
        on_error: Any = config.get("error_cb")
        self._on_error: ErrorTaker = on_error or (lambda _error: None)

    def note(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self.servers:
            _REMINDER.remind_later(self)
        self._on_error(error)


class _Reminder:
    """Reminds the clients of this process, in a thread that ends when all have been reminded."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, _Told, float]] = []
        self._newest: dict[_Told, float] = {}
        self._numbers = itertools.count()
        self._has_thread = False
        self._closed = weakref.WeakSet[object]()
        self._calling = threading.Lock()

    def remind_later(self, told: _Told) -> None:
        """Remind a client some times from now on; what was due for it before is not any more."""
        now_s = time.monotonic()
        with self._changed:
            self._newest[told] = now_s
            for after_s in REMIND_AFTER_S:
                heapq.heappush(self._due, (now_s + after_s, next(self._numbers), told, now_s))
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._run, name="stoker-reminder", daemon=True).start()

    def forget(self, client: object) -> None:
        """Leave a client alone, which is about to end."""
        with self._calling:
            self._closed.add(client)

    def _run(self) -> None:
        while (told := self._next()) is not None:
            client = told.client()
            if client is not None:
                self._remind(client, told)

    def _remind(self, client: object, told: _Told) -> None:
        with self._calling:  # so that it does not end meanwhile
            if client not in self._closed:
                _remind(client, told)

    def _next(self) -> _Told | None:
        """The next one that is due; None where nothing is left, and the thread is to end."""
        with self._changed:
            while self._due:
                at_s, _, told, since_s = self._due[0]
                if self._newest.get(told) != since_s:
                    heapq.heappop(self._due)
                elif not self._changed.wait(max(0.0, at_s - time.monotonic())) and time.monotonic() >= at_s:
                    heapq.heappop(self._due)
                    return told
            self._newest.clear()
            self._has_thread = False
            return None


_REMINDER: Final = _Reminder()


def _remind(client: object, told: _Told) -> None:
    library = _library()
    if library is None:
        return
    handle = ctypes.c_void_p.from_address(id(client) + object.__basicsize__).value
    if handle is None or not library.rd_kafka_name(handle).startswith(f"{told.name}#".encode()):
        return
    library.rd_kafka_brokers_add(handle, told.servers.encode())


@cache
def _library() -> ctypes.CDLL | None:
    """The librdkafka of confluent-kafka; None where it is not known to forget brokers, or is not found."""
    if not _FIRST_FORGETFUL <= confluent_kafka.libversion()[1] <= _LAST_TESTED:
        return None
    package = Path(confluent_kafka.__file__).parent
    beside = [package.parent / "confluent_kafka.libs", package / ".dylibs"]
    found = [str(path) for folder in beside if folder.is_dir() for path in folder.glob("librdkafka*")]
    try:
        library = ctypes.CDLL((found or ["librdkafka.so.1"])[0])
        library.rd_kafka_name.argtypes, library.rd_kafka_name.restype = [ctypes.c_void_p], ctypes.c_char_p
        library.rd_kafka_brokers_add.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    except (OSError, AttributeError):
        return None
    return library
