"""`BlockingHandler`: a log handler that hangs, as one on a full pipe or a network that does not answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class BlockingHandler(logging.Handler):
    """Blocks the first thread that logs, which holds its lock, so that each other one blocks as well."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.let_go = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Block."""
        self.blocks.set()
        self.let_go.wait(120)


@contextmanager
def blocking_log(name: str) -> Iterator[BlockingHandler]:
    """A logger with such a handler, which lets go at the end."""
    handler = BlockingHandler()
    logging.getLogger(name).addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger(name).removeHandler(handler)
        handler.let_go.set()
