"""An event loop for jobs goes on whatever its jobs' own classes do."""

from __future__ import annotations

import asyncio

import pytest

from stoker.consumers.runners.loop_turns import make_loop, turn_until


class HostileExit(SystemExit):
    """Its traceback cannot be read by its name."""

    @property
    def __traceback__(self) -> None:  # type: ignore[override]
        """Raise."""
        raise RuntimeError("no traceback")


@pytest.mark.expected_errors("a task that a job started raised")
def test_an_exit_whose_traceback_raises_ends_no_loop() -> None:
    """All later jobs of the loop would wait for ever."""
    loop = make_loop()
    ended = loop.create_future()

    def leave() -> None:
        raise HostileExit

    loop.call_soon(leave)
    loop.call_later(0.01, ended.set_result, None)
    turn_until(loop, ended)
    assert ended.done()
    loop.close()
    assert not asyncio.all_tasks(loop)
