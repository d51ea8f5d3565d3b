"""Starts the processes of a measurement and reads their results; none outlives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from part import Part, Result
from process import READY

FOLDER: Final = Path(__file__).parent
END_TIMEOUT_S: Final = 60.0
RESULT_TIMEOUT_S: Final = 600.0
_LAST_LINES: Final = 15
_KEPT: Final = ("STOKER_BOOTSTRAP_SERVERS", "STOKER_KAFKA_", "STOKER_SCHEMA_REGISTRY_")


class PartFailed(Exception):
    """A process of a measurement failed; the message holds the end of its log."""

    def __init__(self, what: str, code: int | None, log: str) -> None:
        last = "\n".join(log.splitlines()[-_LAST_LINES:])
        super().__init__(f"{what!r} failed with exit code {code}; the end of its log:\n{last}")


class PartProcess:
    """A process that does a part."""

    def __init__(self, part: Part, process: subprocess.Popen[str], log: IO[str]) -> None:
        self._part, self._process, self._log = part, process, log

    def wait_ready(self) -> None:
        """Wait until it reports that it is ready.

        Raises:
            PartFailed: it ended instead.
        """
        if self._read_line() != READY:
            raise self._failed()

    def result(self) -> Result:
        """Wait for its end and its result.

        Raises:
            PartFailed: it has none.
        """
        said, _ = self._process.communicate(timeout=RESULT_TIMEOUT_S)
        if self._process.returncode != 0:
            raise self._failed()
        found: Result = json.loads(said.splitlines()[-1])
        return found

    def _read_line(self) -> str:
        return "" if self._process.stdout is None else self._process.stdout.readline().strip()

    def _failed(self) -> PartFailed:
        self._process.kill()
        code = self._process.wait()
        self._log.seek(0)
        return PartFailed(self._part.does, code, self._log.read())


def do(part: Part, bootstrap_servers: str) -> Result:
    """Do a part in a process of its own, and give its result.

    Raises:
        PartFailed: it failed.
    """
    with started(part, bootstrap_servers) as process:
        return process.result()


@contextmanager
def started(part: Part, bootstrap_servers: str) -> Iterator[PartProcess]:
    """Start a process that does a part; it is killed in the end if it still runs."""
    command = [sys.executable, str(FOLDER / "process.py"), part.to_json()]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command, env=environment(bootstrap_servers, {}), stdout=subprocess.PIPE, stderr=log, text=True
        )
        with process:
            try:
                yield PartProcess(part, process, log)
            finally:
                process.kill()


@contextmanager
def stoker(*arguments: str, bootstrap_servers: str, variables: Mapping[str, str], log: Path) -> Iterator[int]:
    """Run a `stoker` command as users do, with bench/ as its working folder; returns its process id."""
    command = [sys.executable, "-m", "stoker.operations.cli", *arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=FOLDER, env=environment(bootstrap_servers, variables), stdout=out, stderr=out
        )
    with process:
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def stoker_took_s(*arguments: str, bootstrap_servers: str, variables: Mapping[str, str]) -> float:
    """Run a `stoker` command to its end; the seconds from its start to that.

    Raises:
        PartFailed: it failed.
    """
    command = [sys.executable, "-m", "stoker.operations.cli", *arguments]
    began_at_s = time.monotonic()
    done = subprocess.run(
        command,
        cwd=FOLDER,
        env=environment(bootstrap_servers, variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=END_TIMEOUT_S,
        check=False,
    )
    took_s = time.monotonic() - began_at_s
    if done.returncode:
        raise PartFailed(" ".join(arguments), done.returncode, done.stderr)
    return took_s


def environment(bootstrap_servers: str, variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, with none of Stoker's settings but the cluster's, which are measured with."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    cluster = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
    return {**plain, **cluster, "STOKER_BOOTSTRAP_SERVERS": bootstrap_servers, **variables}
