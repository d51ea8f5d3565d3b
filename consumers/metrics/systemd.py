"""`SystemdNotifier`: notifies systemd that a process is ready, alive and stopping, where `NOTIFY_SOCKET` is set.

Source: sd_notify(3): one datagram `NAME=value` for each state to the socket that the variable names.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

from ...producers.metrics.health import Health

_LOGGER = logging.getLogger("stoker.metrics")

LOOK_EVERY_S: Final = 0.5
END_WITHIN_S: Final = 2.0
SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG_US: Final = "WATCHDOG_USEC"
WATCHDOG_PID: Final = "WATCHDOG_PID"


class SystemdNotifier:
    """Looks at the health now and then, in a thread of its own.

    It sends `READY=1` once the process is ready, `WATCHDOG=1` twice in the time that systemd allows while it is live,
    and `STOPPING=1` at the end.
    """

    def __init__(self, health: Health, address: str, watchdog_s: float | None = None) -> None:
        self._health = health
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._look_every_s = LOOK_EVERY_S if watchdog_s is None else min(LOOK_EVERY_S, watchdog_s / 2)
        self._ending = Event()
        self._is_ready = False
        self._thread = Thread(target=self._run, name="stoker-systemd", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Notify systemd that the process stops."""
        self._ending.set()
        self._thread.join(END_WITHIN_S)
        self._send("STOPPING=1")

    def _run(self) -> None:
        while True:
            self._look()
            if self._ending.wait(self._look_every_s):
                return

    def _look(self) -> None:
        if not self._is_ready and self._health.ready().is_well:
            self._is_ready = True
            self._send("READY=1")
        if self._watchdog_s is None:
            return
        live = self._health.live()
        if live.is_well:
            self._send("WATCHDOG=1")
        else:
            self._send("STATUS=" + "; ".join(live.why))

    def _send(self, text: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.connect(self._address)
                channel.sendall(text.encode())
        except OSError as error:
            _LOGGER.warning("systemd did not take %s (%s); the worker goes on", text, error)


@contextmanager
def notifying(health: Health, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Notify systemd in this block, if it wants to be."""
    address = environment.get(SOCKET)
    if not address:
        yield
        return
    notifier = SystemdNotifier(health, address, _watchdog_s(environment))
    notifier.start()
    try:
        yield
    finally:
        notifier.close()


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """How long systemd waits for a watchdog notification of this process; None where it waits for none."""
    named = environment.get(WATCHDOG_US, "")
    if not named.isdigit() or environment.get(WATCHDOG_PID, str(os.getpid())) != str(os.getpid()):
        return None
    return int(named) / 1e6
