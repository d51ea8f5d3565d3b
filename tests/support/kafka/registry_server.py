"""A Schema Registry of the tests' own: what Stoker uses of the public API, in memory, and able to fall ill.

It compares schemas by Stoker's own rules, at the level BACKWARD. `test_registry_conformance.py` holds it against a real
one.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import unquote

from stoker.schemas import Compatibility, check

JSON: Final = "application/vnd.schemaregistry.v1+json"
SUBJECT_NOT_FOUND: Final = (404, {"error_code": 40401, "message": "Subject not found."})
VERSION_NOT_FOUND: Final = (404, {"error_code": 40402, "message": "Version not found."})
SCHEMA_NOT_FOUND: Final = (404, {"error_code": 40403, "message": "Schema not found."})

Answer = tuple[int, Any]


class Registry(ThreadingHTTPServer):
    """A registry with ids from 1, and a list of ids for each subject.

    Attributes:
        schemas: what is registered, with its references; the first has the id 1.
        subjects: {subject: ids of its versions}.
        seen: (method, path, authorization) of each request.
        answer: given in place of the right one to the methods in `ailing`, where `ailing_path` is in the path; a text
            stands for a page of HTML.
        location: where a redirect leads to.
        may_answer: cleared, it lets all requests wait.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.schemas: list[dict[str, Any]] = []
        self.subjects: dict[str, list[int]] = {}
        self.seen: list[tuple[str, str, str | None]] = []
        self.answer: Answer | None = None
        self.ailing = {"GET", "POST"}
        self.ailing_path = ""
        self.location = ""
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.prefix = ""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}{self.prefix}"

    def add(self, schema: str, subject: str = "", references: tuple[dict[str, Any], ...] = ()) -> int:
        """Register a schema without a check; its id."""
        entry = {"schema": schema, "references": list(references)}
        if entry not in self.schemas:
            self.schemas.append(entry)
        schema_id = self.schemas.index(entry) + 1
        if subject and schema_id not in self.subjects.setdefault(subject, []):
            self.subjects[subject].append(schema_id)
        return schema_id


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Give a schema, the versions of a subject, or one version."""
        self._reply(self._found())

    def do_POST(self) -> None:
        """Register a schema under a subject, or compare it with the last one there."""
        schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
        path = self._path()
        if self._is_ailing():
            self._reply((500, None))
        elif asked := re.fullmatch(r"/compatibility/subjects/([^/]+)/versions(/latest)?", path):
            ids = self.server.subjects.get(asked[1])
            self._reply((200, {"is_compatible": self._fits(ids[-1], schema)}) if ids else SUBJECT_NOT_FOUND)
        else:
            self._reply(self._registered(path.split("/")[2], schema))

    def _registered(self, subject: str, schema: str) -> Answer:
        ids = self.server.subjects.get(subject)
        is_known = any(self.server.schemas[schema_id - 1]["schema"] == schema for schema_id in ids or ())
        if not ids or is_known or self._fits(ids[-1], schema):
            return 200, {"id": self.server.add(schema, subject)}
        return 409, {"error_code": 409, "message": "Schema being registered is incompatible"}

    def _found(self) -> Answer:
        path = self._path()
        if by_id := re.fullmatch(r"/schemas/ids/(\d+)", path):
            at = int(by_id[1])
            return (200, self.server.schemas[at - 1]) if 0 < at <= len(self.server.schemas) else SCHEMA_NOT_FOUND
        asked = re.fullmatch(r"/subjects/([^/]+)/versions(?:/(\d+))?", path)
        if asked is None:
            return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
        subject, version = asked.groups()
        ids = self.server.subjects.get(subject, [])
        if not ids:
            return SUBJECT_NOT_FOUND
        if version is None:
            return 200, list(range(1, len(ids) + 1))
        if int(version) > len(ids):
            return VERSION_NOT_FOUND
        schema_id = ids[int(version) - 1]
        return 200, {
            "subject": subject,
            "version": int(version),
            "id": schema_id,
            **self.server.schemas[schema_id - 1],
        }

    def _fits(self, last_id: int, schema: str) -> bool:
        last = json.loads(self.server.schemas[last_id - 1]["schema"])
        return not check(last, json.loads(schema), Compatibility.BACKWARD)

    def _path(self) -> str:
        path = unquote(self.path.partition("?")[0])
        return path.removeprefix(self.server.prefix) if path.startswith(self.server.prefix) else "/elsewhere"

    def _is_ailing(self) -> bool:
        is_meant = self.command in self.server.ailing and self.server.ailing_path in self.path
        return self.server.answer is not None and is_meant

    def _reply(self, answer: Answer) -> None:
        self.server.seen.append((self.command, self.path, self.headers["Authorization"]))
        self.server.may_answer.wait(60)
        if self._is_ailing() and self.server.answer is not None:
            answer = self.server.answer
        status, body = answer
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(body, str) else JSON)
        self.send_header("Content-Length", str(len(content)))
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """Run it in a thread, and end it with its port."""
    thread = threading.Thread(target=registry.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield registry
    finally:
        registry.may_answer.set()
        registry.shutdown()
        thread.join(10)
        registry.server_close()
