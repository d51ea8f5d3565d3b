"""`GuardedThread`: a thread that never ends unnoticed. The worker sees what has ended it, and stops with that cause."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol


class HasCrashed(Protocol):
    """A part of the worker that may fail.

    Attributes:
        crashed: why it cannot go on; None while it can.
    """

    @property
    def crashed(self) -> BaseException | None:
        """See above."""


def first_crash(parts: Iterable[HasCrashed]) -> BaseException | None:
    """Why one of these cannot go on; None while all can."""
    return next((crashed for part in parts if (crashed := part.crashed) is not None), None)


class GuardedThread:
    """A thread that is started once, if at all.

    Args:
        on_crash: called in the thread with the error that ends it; without it, Python's `threading.excepthook` gets
            the error, and prints it.
        at_end: called in the thread at its end, also after a crash, which is known by then: it may wait for brokers.

    Attributes:
        crashed: the error that has ended it; None while it goes on, and after an end without one.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], None],
        on_crash: Callable[[BaseException], None] | None = None,
        *,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._run, self._on_crash, self._at_end = run, on_crash, at_end
        self._thread = threading.Thread(target=self._run_guarded, name=name)
        self.crashed: BaseException | None = None

    def start(self, *, daemon: bool = True) -> None:
        """Start it; Python does not wait at its end for threads that are `daemon`."""
        self._thread.daemon = daemon
        self._thread.start()

    def join(self, within_s: float | None = None) -> None:
        """Wait for its end, for so long at the most, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(within_s)

    @property
    def is_alive(self) -> bool:
        """Whether it was started, and has not ended."""
        return self._thread.is_alive()

    @property
    def ident(self) -> int:
        """Python's number of it; 0 before it has started."""
        return self._thread.ident or 0

    @property
    def is_current(self) -> bool:
        """Whether the caller is it."""
        return self._thread is threading.current_thread()

    def _run_guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.crashed = error
            if self._on_crash is None:
                raise
            self._on_crash(error)
        finally:
            self._at_end()
