"""`FaustProcess`: one Faust process as its supervisor sees it: started, listened to, ended or killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import Final

from .messages import ProcessBeat, ProcessSettings

COMMAND: Final = (sys.executable, "-m", "stoker.operations.statistics.faust_worker")
END_WAIT_S: Final = 15.0


class FaustProcess:
    """One process. It ends when its standard input closes, so with its supervisor, however that ends."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._beats = deque[ProcessBeat](maxlen=1)
        self._listener = threading.Thread(target=self._listen, name="stoker-statistics-beats", daemon=True)
        self._listener.start()
        with suppress(OSError):  # it has ended already, which its exit code shows
            assert self._process.stdin is not None
            self._process.stdin.write(settings.to_line())
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if (beat := ProcessBeat.from_line(line)) is not None:
                self._beats.append(beat)

    def next_beat(self) -> ProcessBeat | None:
        """The latest beat; None if that was taken before."""
        with suppress(IndexError):
            return self._beats.pop()
        return None

    def ended(self) -> str | None:
        """How it has ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def end(self) -> None:
        """Ask it to write its last snapshot and end; kill it if it does not."""
        self._process.terminate()
        try:
            self._process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._close()

    def kill(self) -> None:
        """End it at once; also one that is stopped."""
        self._process.kill()
        self._close()

    def _close(self) -> None:
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
