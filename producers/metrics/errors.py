"""Errors of metrics: they come before a process has begun its work."""

from __future__ import annotations


class MetricsError(Exception):
    """A process cannot show its metrics."""


class MetricsPortTaken(MetricsError):
    """The address for metrics cannot be listened on, most likely because another process does."""

    def __init__(self, host: str, port: int, cause: OSError) -> None:
        super().__init__(
            f"{host}:{port} cannot be opened for metrics: {cause.strerror or cause}; "
            "choose another --metrics-port or --metrics-host, or end the process that has it"
        )
        self.host, self.port = host, port
