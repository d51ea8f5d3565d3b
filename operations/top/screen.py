"""`Screen`: the whole terminal for a while: frames without flicker, one key to end, and all as it was afterwards."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self, TextIO

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"
"""Another page of the terminal, without cursor, cleared."""
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_REST_OF_LINE: Final = "\x1b[K"
_REST_OF_PAGE: Final = "\x1b[J"
_ENDING: Final = frozenset("qQ\x1b\x04")


class Screen:
    """Draws on a terminal. What a line replaces is overwritten, and nothing is cleared first, so nothing flickers."""

    def __init__(self, to: TextIO | None = None) -> None:
        self._to = to or sys.stdout
        self._keys = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._keys.enter_context(_keys_at_once())
        self._write(_ENTER)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write(_LEAVE)
        self._keys.close()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as of now."""
        found = shutil.get_terminal_size()
        return found.columns, found.lines

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, and nothing else."""
        body = f"{_REST_OF_LINE}\n".join(lines)
        self._write(f"{_HOME}{body}{_REST_OF_LINE}{_REST_OF_PAGE}")

    def wait_key(self, timeout_s: float) -> bool:
        """Wait so long for a key; whether it is one that ends the screen."""
        if not sys.stdin.isatty():
            select.select([], [], [], timeout_s)
            return False
        ready, _, _ = select.select([sys.stdin], [], [], timeout_s)
        return bool(ready) and not _ENDING.isdisjoint(os.read(sys.stdin.fileno(), 64).decode("latin-1") or "q")

    def _write(self, text: str) -> None:
        self._to.write(text)
        self._to.flush()


@contextmanager
def _keys_at_once() -> Iterator[None]:
    """Read keys as they are pressed, without showing them; where stdin is no terminal, there are none."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
