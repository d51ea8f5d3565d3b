"""The exit codes of `stoker`, the same for every command, so that scripts can rely on them."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    """The code that a finished command returns to the shell."""

    OK = 0
    FINDING = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done, nothing to object to",
    ExitCode.FINDING: "a finding: drift, a broken rule or guarantee, a job that was not confirmed",
    ExitCode.USAGE: "the command line, its input or the application it names is wrong",
    ExitCode.UNREACHABLE: "Kafka, the Schema Registry or the database of an inbox or outbox cannot be reached, or none "
    "is configured",
    ExitCode.REFUSED: "refused, because it could lose data or order: the message names the flag that allows it; or "
    "there was no terminal to ask at: pass --yes",
    ExitCode.INTERRUPTED: "interrupted from the keyboard, or stopped between two batches",
    ExitCode.OUTPUT_CLOSED: "ended early, since the reader of its output has closed it, as `head` does",
}


def exit_code_epilog() -> str:
    """The table of exit codes for `stoker --help`; the leading mark keeps click from wrapping it."""
    lines = [f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join(["\b", "Exit codes:", *lines])
