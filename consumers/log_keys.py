"""The names of extra fields in log records, each listed once; every record about a job carries `JOB_ID`.

Layers below this one cannot import it. Schema stores, and admission in producers, spell out the names of their extra
fields; other log records of producers, the spool and the outbox's relay have none.
"""

from __future__ import annotations

from typing import Final

JOB_ID: Final = "job_id"
JOB_TYPE: Final = "job_type"
QUEUE: Final = "queue"
TENANT: Final = "tenant"
ATTEMPT: Final = "attempt"
RECORD: Final = "record"
OUTCOME: Final = "outcome"
REASON: Final = "reason"
ERROR_TYPE: Final = "error_type"
DUE: Final = "due"
WORKER: Final = "worker"
PARTITIONS: Final = "partitions"
COUNT: Final = "count"
SCHEMA_ID: Final = "schema_id"
ORDER: Final = "order"
SCHEDULE: Final = "schedule"
TRACE_ID: Final = "trace_id"
"""32 hex digits, as OpenTelemetry's own logging writes them."""
SPAN_ID: Final = "span_id"
"""16 hex digits."""
