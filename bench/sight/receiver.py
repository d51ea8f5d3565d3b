"""A program that takes spans by OTLP over HTTP, as a collector does, and drops them; it prints its port first."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(BaseHTTPRequestHandler):
    """Answers each request that all is well; an empty answer is OTLP for that."""

    protocol_version = "HTTP/1.1"  # the exporter keeps its connection

    def do_POST(self) -> None:  # so named by http.server
        """Read the spans."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # so named by http.server
        """Nothing is logged."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
