"""Gives clients the brokers' addresses again where librdkafka has forgotten them.

A broker that stops or starts may answer that no broker is up. librdkafka from 2.10 on then forgets all that it knows,
and begins anew with the given addresses. By a fault in it (its issue 5301, open in 2.16) it may never begin: that
client alone is cut off for good, while the brokers are up again, and reports nothing. A worker's consumer then neither
commits nor heartbeats.

So each lasting client is given the addresses again every few seconds. librdkafka has a call for that,
`rd_kafka_brokers_add`, which may come at any time, from any thread; where the client has brokers, those that it does
not need are forgotten again with its next metadata. confluent-kafka does not pass it on, so it is made here by ctypes,
with the handle that follows the head of each client object. Where library or handle are not as in the versions that
this was tested with, nothing is called.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import confluent_kafka
from confluent_kafka import Consumer, Producer

REMIND_EVERY_S: Final = 5.0
_FIRST_FORGETFUL: Final = 0x020A0000
_LAST_TESTED: Final = 0x0210FFFF
_DEFAULT_NAME: Final = "rdkafka"


class LastingConsumer(Consumer):
    """A consumer that is given its brokers again where it has forgotten them."""

    def close(self) -> None:
        """Leave the group, and end."""
        _REMINDER.forget(self)
        super().close()


class LastingProducer(Producer):
    """A producer that is given its brokers again where it has forgotten them."""

    def close(self) -> bool:
        """Send what is left, and end."""
        _REMINDER.forget(self)
        return super().close()


Lasting = TypeVar("Lasting", LastingConsumer, LastingProducer)


def lasting(kind: type[Lasting], config: Mapping[str, object]) -> Lasting:
    """Make a client that outlives each outage."""
    client = kind(dict(config))
    _REMINDER.remember(client, config)
    return client


class _Reminder:
    """Reminds the clients of this process, in a thread that ends with the last of them."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Know no client: those of a process that has forked are not those of its child."""
        self._lock = threading.Lock()
        self._known = weakref.WeakKeyDictionary[Consumer | Producer, Mapping[str, object]]()
        self._has_thread = False

    def remember(self, client: Consumer | Producer, config: Mapping[str, object]) -> None:
        """Remind this client from now on."""
        named = {"bootstrap.servers": "", "client.id": _DEFAULT_NAME, **config}
        with self._lock:
            self._known[client] = {name: named[name] for name in ("bootstrap.servers", "client.id")}
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._run, name="stoker-reminder", daemon=True).start()

    def forget(self, client: Consumer | Producer) -> None:
        """Leave a client alone, which is about to end."""
        with self._lock:
            self._known.pop(client, None)

    def _run(self) -> None:
        pause = threading.Event()
        try:
            while not pause.wait(REMIND_EVERY_S) and self._has_any():
                self._remind_all()
        except BaseException:  # the next client that is made has another thread take its place
            with self._lock:
                self._has_thread = False
            raise

    def _remind_all(self) -> None:
        for client in self._all():
            with self._lock:  # so that it does not end meanwhile
                config = self._known.get(client)
                if config is not None:
                    _remind(client, str(config["bootstrap.servers"]), str(config["client.id"]))

    def _has_any(self) -> bool:
        with self._lock:
            self._has_thread = bool(self._known)
            return self._has_thread

    def _all(self) -> list[Consumer | Producer]:
        with self._lock:
            return list(self._known)


_REMINDER: Final = _Reminder()
os.register_at_fork(after_in_child=_REMINDER.begin_anew)


def _remind(client: Consumer | Producer, servers: str, name: str) -> None:
    library = _library()
    if library is None or not servers:
        return
    handle = ctypes.c_void_p.from_address(id(client) + object.__basicsize__).value
    if handle is not None and library.rd_kafka_name(handle).startswith(f"{name}#".encode()):
        library.rd_kafka_brokers_add(handle, servers.encode())


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
