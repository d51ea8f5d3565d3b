"""`stoker top`: queues, job types, workers, slow jobs and failures on one live screen, or as data."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line, print_json_line
from ..cli.parameters import Duration
from ..index_commands.options import INDEX

if TYPE_CHECKING:
    from ..top.gatherer import Gatherer
    from ..top.picture import Picture

SHORTEST_S: Final = 0.5
_KEY_S: Final = 0.1
_ONCE_HEIGHT: Final = 1_000
"""The height of a frame that goes to a pipe or is printed once: all rows."""
_PIPE_WIDTH: Final = 160


@click.command()
@click.option("--interval", type=Duration(), default="2s", show_default=True, help="How often to look.")
@click.option("--once", is_flag=True, help="Print one frame, after one interval, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one line for each interval, or one with --once.")
@INDEX
@pass_app
def top(app: AppContext, *, interval: timedelta, once: bool, as_json: bool, index: str | None) -> None:
    """Show queues, job types, workers, the slowest running jobs and failures on one screen, until q or Ctrl+C.

    \b
    WAITING       jobs on all topics of the queue, delayed ones included; GROWTH/S is what comes beyond what is done
    OLDEST        how long the oldest job has waited that may run
    DONE/S        of queues between two looks; of types, and all failed runs, in the last minute
    DEAD RECORDS  records of the dead-letter topic; `stoker queues` counts the open dead letters
    RUNNERS       how many have a job, of how many

    It reads the brokers and the events, and changes nothing. The slowest running jobs are those of which workers report
    that their partition waits for them, or that they are stuck. Failures are dead letters of the last hour, by the
    index. Without one, or if it is stale, they are failed runs of the last 60 s, and the last line shows that.

    \b
    Examples:
      stoker -A shop.jobs:pipeline top
      stoker -A shop.jobs:pipeline top --once --json | jq '.queues[] | select(.growth_per_s > 0) | .name'

    Exit codes: 0; 3 when Kafka cannot be reached at the start. Later it goes on, and shows that.
    """
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ..job_index.database import index_path
    from ..top.gatherer import Gatherer

    require_rights(Duty.QUEUES, app.pipeline, app.cluster)
    every_s = max(interval.total_seconds(), SHORTEST_S)
    with closing(Gatherer(app.pipeline, app.cluster, index_path(app.pipeline.namespace, index))) as gatherer:
        gatherer.start()
        if as_json or once or not sys.stdout.isatty():
            return _print(gatherer, every_s, once=once or not as_json, as_json=as_json)
        return _show(gatherer, every_s)


def _print(gatherer: Gatherer, every_s: float, *, once: bool, as_json: bool) -> None:
    """Print frames; the first one after an interval, so that it has rates."""
    from ..top.frames import frame
    from ..top.gatherer import PASSING
    from ..top.picture import picture_document

    gatherer.picture()
    while True:
        time.sleep(every_s)
        try:
            picture = gatherer.picture()
        except PASSING as error:
            if once:
                raise
            echo_line(f"{error}; looking again", err=True)
            continue
        if as_json:
            print_json_line(picture_document(picture))
        else:
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
            for line in frame(picture, width, _ONCE_HEIGHT):
                echo_line(line)
        if once:
            return


class _Looking(threading.Thread):
    """Looks again and again, so that the screen answers keys meanwhile."""

    def __init__(self, gatherer: Gatherer, every_s: float) -> None:
        super().__init__(name="stoker-top", daemon=True)
        self._gatherer, self._every_s = gatherer, every_s
        self.ending = threading.Event()
        self.picture: Picture | None = None
        self.failure: Exception | None = None

    def run(self) -> None:
        """Look until a signal ends it, or until something fails that no waiting fixes."""
        from ..top.gatherer import PASSING, after

        while not self.ending.is_set():
            try:
                self.picture = self._gatherer.picture()
            except PASSING as error:
                self.picture = after(self.picture, error)
                self.failure = error if self.picture is None else None
            except Exception as error:  # noqa: BLE001  # the thread's edge: the main thread raises it
                self.failure = error
            if self.failure is not None:
                return
            self.ending.wait(self._every_s)


def _show(gatherer: Gatherer, every_s: float) -> None:
    """Draw each new picture, and at once when the window has another size."""
    from ..top.screen import Screen

    looking = _Looking(gatherer, every_s)
    looking.start()
    try:
        with Screen() as screen:
            _draw(looking, screen)
    finally:
        looking.ending.set()
        looking.join(10)
    if looking.failure is not None:
        raise looking.failure


def _draw(looking: _Looking, screen: object) -> None:
    from ..top.frames import frame
    from ..top.screen import Screen

    assert isinstance(screen, Screen)
    drawn: tuple[Picture | None, tuple[int, int]] | None = None
    while looking.failure is None:
        wanted = looking.picture, screen.size
        if wanted != drawn:
            picture, (width, height) = drawn = wanted
            screen.draw(["looking …"] if picture is None else frame(picture, width, height, "q ends"))
        if screen.wait_key(_KEY_S):
            return
