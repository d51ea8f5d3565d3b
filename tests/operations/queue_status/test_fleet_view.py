"""The table of a fleet: what it shows is of this moment, or it shows why not."""

from __future__ import annotations

from typing import Any, cast

import pytest
from rich.console import Console

from stoker.operations.cluster_view import ClusterView
from stoker.operations.queue_status import fleet_view
from stoker.operations.queue_status.fleet_view import FleetView


@pytest.mark.parametrize(("fault", "shown"), [(ValueError("no leader"), "no leader"), (KeyError(), "KeyError()")])
def test_what_keeps_the_view_from_looking_is_shown_and_it_looks_again(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, shown: str
) -> None:
    """Whatever it is: else the table would keep the figures of that moment, as if they were of now."""
    answers: list[Any] = [fault, object()]

    def read(_view: ClusterView, _queues: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(fleet_view, "read_offsets", read)
    monkeypatch.setattr(fleet_view, "inspect_queues", lambda *_: [])
    view = FleetView(cast(ClusterView, None), [], 2)

    def screen() -> str:
        console = Console(width=120)
        with console.capture() as captured:
            console.print(view.table())
        return captured.get()

    view.refresh()
    assert shown in screen()
    view.refresh()
    assert shown not in screen()
