"""`MetricsServer`: answers `/metrics`, `/live` and `/ready` over HTTP, in threads of its own."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Thread
from types import TracebackType
from typing import Final, Self

from .errors import MetricsPortTaken
from .health import AlwaysWell, Health, HealthReport
from .page import CONTENT_TYPE, MetricsPage
from .sample import SampleSource

_LOGGER = logging.getLogger("stoker.metrics")

LOCAL: Final = "127.0.0.1"
REQUEST_TIMEOUT_S: Final = 10.0
"""How long a client may take for its request, so that silent ones do not gather threads."""
END_WITHIN_S: Final = 2.0
PATHS: Final = "/metrics\n/live\n/ready\n"

Answer = tuple[int, str, bytes]
"""Status, content type and body."""


class MetricsServer:
    """Listens from the constructor on; answers from `start` on.

    Args:
        sources: give the samples; called for each request, in its thread.
        port: 0 takes any that is free; `port` of the object has it.
        host: loopback, unless given: the page names queues and job types, and asks for no password.

    Raises:
        MetricsPortTaken: the address cannot be listened on.
    """

    def __init__(
        self, sources: Sequence[SampleSource], port: int, host: str = LOCAL, *, health: Health | None = None
    ) -> None:
        self._page = MetricsPage(sources)
        self.health: Health = health or AlwaysWell()
        self._server = _listen(host, port, self._answer)
        self.port = int(self._server.server_address[1])
        self.host = host
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="stoker-metrics", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and free the port. Harmless when repeated."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(END_WITHIN_S)
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, path: str) -> Answer:
        match path.partition("?")[0]:
            case "/metrics":
                return 200, CONTENT_TYPE, self._page.write()
            case "/live":
                return _of_health("live", self.health.live())
            case "/ready":
                return _of_health("ready", self.health.ready())
            case "/":
                return 200, "text/plain; charset=utf-8", PATHS.encode()
        return 404, "text/plain; charset=utf-8", f"there are:\n{PATHS}".encode()


def _of_health(word: str, report: HealthReport) -> Answer:
    body = {word: report.is_well, "why": list(report.why), **report.detail}
    return 200 if report.is_well else 503, "application/json", json.dumps(body).encode() + b"\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking for the name of the host, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "stoker", int(self.server_address[1])


def _listen(host: str, port: int, answer: Callable[[str], Answer]) -> _Server:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "stoker"
        sys_version = ""
        timeout = REQUEST_TIMEOUT_S

        def do_GET(self) -> None:
            try:
                status, content_type, body = answer(self.path)
            except Exception:  # a scrape that fails must not pass for a process without metrics
                _LOGGER.exception("%s could not be answered; jobs go on", self.path)
                status, content_type, body = 500, "text/plain; charset=utf-8", b"failed: the log has the reason\n"
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            _LOGGER.debug(format, *args)

    class Server(_Server):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, request: object, client_address: object) -> None:
            _LOGGER.debug("a client of the metrics went away", exc_info=True)

    try:
        return Server((host, port), Handler)
    except OSError as cause:
        raise MetricsPortTaken(host, port, cause) from cause
    except OverflowError as cause:
        raise MetricsPortTaken(host, port, OSError(str(cause))) from cause
