"""Stacks of threads and coroutines, as frames and as text for people."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final

INNERMOST: Final = 6
"""How many frames of a stack are shown."""


def thread_frames(thread_id: int) -> list[FrameType]:
    """The frames of a thread, the innermost last."""
    frame = sys._current_frames().get(thread_id)
    return [found for found, _ in traceback.walk_stack(frame)][::-1] if frame is not None else []


def describe_frames(frames: list[FrameType]) -> str:
    """Frames as a traceback shows them."""
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(summary.format()) or "(it has ended)\n"


def innermost(frames: Sequence[FrameType]) -> tuple[str, ...]:
    """The innermost frames, each as `file:line function`."""
    return tuple(f"{f.f_code.co_filename}:{f.f_lineno} {f.f_code.co_qualname}" for f in frames[-INNERMOST:])


def awaiting_frames(awaited: Any) -> list[FrameType]:
    """The frames of a suspended coroutine and of what it awaits, the innermost last."""
    frames: list[FrameType] = []
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            break
        frames.append(frame)
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return frames
