"""Notes how busy the machine's processors are: what is late on a machine without a free one tells nothing of Stoker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from chaos.notes import NoteFile

LOOK_S: Final = 0.5


@contextmanager
def watched_processors(folder: Path) -> Iterator[None]:
    """Look at them again and again inside."""
    notes, ended = NoteFile(folder, "machine"), threading.Event()
    psutil.cpu_percent()

    def watch() -> None:
        while not ended.wait(LOOK_S):
            notes.append(f"M {psutil.cpu_percent()}")

    thread = threading.Thread(target=watch, name="processors")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
