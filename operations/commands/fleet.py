"""Both sides of `stoker worker --processes N`: the supervisor, and what a process does because it is supervised."""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ..cli.app import AppContext
from ..cli.exit_codes import ExitCode
from ..cli.parameters import MetricsAddress

if TYPE_CHECKING:
    from ...consumers.worker import Worker
    from ..queue_status.fleet_view import FleetView

SUPERVISED: Final = "--supervised"
RELAYED: Final = "--relayed"
"""The option of a process whose output goes to a terminal, by way of its supervisor."""
_LOOK_AFTER_PARENT_S: Final = 1.0


def run_fleet(
    app: AppContext,
    queues: tuple[str, ...],
    processes: int,
    *,
    grace: timedelta,
    log_format: str,
    on_terminal: bool,
    metrics: MetricsAddress | None = None,
) -> int:
    """Supervise processes with the arguments of this one, but for one process each; the exit code of it all.

    Each process has a port of its own for metrics, that of its place in the fleet.
    """
    from ...consumers.fleet import Fleet
    from ...consumers.metrics.systemd import notifying
    from ...producers.metrics.health import AlwaysWell
    from ..queue_status.fleet_view import fleet_screen

    if metrics is not None:
        metrics.check_free(processes)
    app.start_cluster()  # here, so that an embedded broker is started once, before the processes look for it
    own = ("--processes", "1", "--log-format", log_format, SUPERVISED)
    command = [sys.executable, "-m", "stoker.operations.cli", *sys.argv[1:], *own]
    own_options = (lambda _number: ()) if metrics is None else metrics.options_of
    with notifying(AlwaysWell()):
        if not on_terminal:
            return _exit_code(Fleet(command=command, size=processes, grace=grace, own_options=own_options).run())
        view = _view(app, queues, processes)
        with fleet_screen(view):
            fleet = Fleet(
                command=[*command, RELAYED],
                size=processes,
                grace=grace,
                own_options=own_options,
                on_change=view.note_processes,
            )
            return _exit_code(fleet.run())


def _view(app: AppContext, queues: tuple[str, ...], processes: int) -> FleetView:
    from ..cluster_view import ClusterView
    from ..queue_status.fleet_view import FleetView

    chosen = app.find_queues(queues)
    return FleetView(ClusterView(app.cluster), chosen, processes)


def _exit_code(code: int) -> int:
    """The fleet's exit code for a shell; a process that died of our signal, unhandled, had begun nothing."""
    if code in (-signal.SIGTERM, -signal.SIGINT, ExitCode.INTERRUPTED):
        return ExitCode.OK
    return code if code >= 0 else ExitCode.FINDING


def stop_with_parent(worker: Worker) -> None:
    """Shut the worker down when the supervisor is gone: a crash would not be followed by a restart."""
    parent = os.getppid()

    def watch() -> None:
        ended = threading.Event()
        while os.getppid() == parent:
            ended.wait(_LOOK_AFTER_PARENT_S)
        worker.stop()

    threading.Thread(target=watch, name="stoker-parent", daemon=True).start()
