"""`make_control`: the control thread of a worker process, with the takers of all kinds of orders.

A new kind of order is a class, and a line in `make_takers`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from ...producers.control.log_reader import LogReader
from ...topology import ClusterSettings, Pipeline
from .block_orders import BlockOrders
from .breaker_orders import BreakerOrders
from .cancel_orders import CancelOrders
from .control_thread import ControlThread
from .guard_pauses import GuardPauses
from .limit_orders import LimitOrders
from .order_feed import OrderFeed
from .order_forgetter import Forgetter
from .order_takers import OrderTaker
from .orders import Orders
from .own_orders import OwnOrders
from .pause_orders import PauseOrders
from .process import WorkerProcess
from .reschedule_orders import PriorityOrders, RescheduleOrders
from .status_writer import StatusWriter

END_MS: Final = 250
"""For `fetch.wait.max.ms`: a worker that starts waits so long for the end of a topic that holds orders."""


def make_takers(
    process: WorkerProcess, forgetter: Forgetter, own_orders: OwnOrders, events_topic: str
) -> list[OrderTaker]:
    """Make the takers of orders about jobs; the control thread itself takes those about workers."""
    pauses, worker_id, publish = PauseOrders(process.pauses), process.worker_id, process.publish
    return [
        pauses,
        GuardPauses(process.guards, process.pauses, pauses, own_orders, publish, worker_id),
        BreakerOrders(process.breakers, own_orders, publish, worker_id, events_topic=events_topic),
        LimitOrders(process.limits),
        BlockOrders(process.pauses, process.cancels, process.end_cancelled),
        RescheduleOrders(process.reschedules, forgetter),
        PriorityOrders(process.reschedules, forgetter),
        CancelOrders(process.cancels, process.end_cancelled, forgetter),
    ]


def make_control(
    pipeline: Pipeline,
    cluster: ClusterSettings,
    process: WorkerProcess,
    *,
    on_crash: Callable[[BaseException], None],
) -> ControlThread:
    """Make the thread; nothing is connected before it runs."""
    forgetter = Forgetter(cluster, pipeline.control_topic, process.worker_id)
    own_orders = OwnOrders(cluster, pipeline, process.worker_id)
    return ControlThread(
        process,
        make_takers(process, forgetter, own_orders, pipeline.events_topic),
        partial(_make_feed, cluster, pipeline.control_topic, process.worker_id),
        StatusWriter(cluster, pipeline.workers_topic, process.worker_id),
        clients=[own_orders, forgetter],
        on_crash=on_crash,
    )


def _make_feed(cluster: ClusterSettings, topic: str, worker_id: str, orders: Orders) -> OrderFeed:
    options = {"fetch.wait.max.ms": END_MS}
    return OrderFeed(LogReader(cluster, topic, client_id=f"{worker_id}-control", options=options), orders)
