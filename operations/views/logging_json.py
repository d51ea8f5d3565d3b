"""Log records as JSON lines: one object a line, with the extra fields of each record under their own names.

Every line has `ts` (RFC 3339, UTC), `level`, `logger` and `message`; a record about a job has the fields of
`consumers.log_keys` beside them, above all `job_id`; one that is made under a span has `trace_id` and `span_id`. An
exception is in `error` and `stack`.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Final

from ...topology.tracing.remote_context import current_ids
from .terminal_text import json_text

TIMESTAMP: Final = "ts"
LEVEL: Final = "level"
LOGGER: Final = "logger"
MESSAGE: Final = "message"
ERROR: Final = "error"
STACK: Final = "stack"

_OWN_FIELDS: Final = frozenset({TIMESTAMP, LEVEL, LOGGER, MESSAGE, ERROR, STACK})
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes of every log record; all others were given as `extra`."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object on one line, whatever its extras are."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields: dict[str, object] = {
            TIMESTAMP: datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            LEVEL: record.levelname.lower(),
            LOGGER: record.name,
            MESSAGE: record.getMessage(),
            **current_ids(),
            **_extras(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields[ERROR] = repr(record.exc_info[1])
            fields[STACK] = record.exc_text or self.formatException(record.exc_info)
        return json_text(json.dumps(fields, default=str, ensure_ascii=False))


def _extras(record: logging.LogRecord) -> dict[str, object]:
    """The fields that were given as `extra`; a name that the line has of its own gets an underscore."""
    given = {name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None}
    return {f"{name}_" if name in _OWN_FIELDS else name: value for name, value in given.items()}
