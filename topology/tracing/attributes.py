"""The names on Stoker's spans, each listed once: OpenTelemetry's conventions for messaging, and Stoker's own.

The conventions for messaging are not stable yet, so the names are kept here, and not taken from a package of theirs.
Source: opentelemetry-semantic-conventions 0.66b2, schema 1.44.
"""

from __future__ import annotations

from typing import Final

SYSTEM: Final = "messaging.system"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
PARTITION: Final = "messaging.destination.partition.id"
OFFSET: Final = "messaging.kafka.offset"
MESSAGE_ID: Final = "messaging.message.id"
CONSUMER_GROUP: Final = "messaging.consumer.group.name"

ERROR_TYPE: Final = "error.type"
EXCEPTION: Final = "exception"
"""The name of the event that describes an error."""
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACK: Final = "exception.stacktrace"

JOB_TYPE: Final = "stoker.job_type"
QUEUE: Final = "stoker.queue"
ATTEMPT: Final = "stoker.attempt"
"""The number of the run, 1 for the first."""
ATTEMPTS: Final = "stoker.attempts"
"""How many runs the retry policy allows."""
REPLAY: Final = "stoker.replay"
"""The id of the replay that published the record."""
OUTCOME: Final = "stoker.outcome"
"""The outcome of the run, or of what was settled: `done`, `retried`, `dead` and so on."""
REASON: Final = "stoker.reason"
"""The reason of an outcome that has one, such as `attempts-spent`."""
DUE: Final = "stoker.due"
"""When the next run may start, RFC 3339."""
FINGERPRINT: Final = "stoker.error.fingerprint"
CRASHES: Final = "stoker.crashes"
EFFECT: Final = "stoker.inbox.effect"
ALREADY_DONE: Final = "stoker.inbox.already_done"
"""True where an earlier run has committed the block."""

KAFKA: Final = "kafka"
CREATE: Final = "create"
SEND: Final = "send"
PROCESS: Final = "process"
SETTLE: Final = "settle"
INBOX: Final = "inbox"
