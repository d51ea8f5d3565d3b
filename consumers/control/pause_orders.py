"""`PauseOrders`: orders to pause jobs, of which each becomes a pause at the gates of the queues concerned."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Final

from ...schemas import wire_text
from ...schemas.own_records.control_records import ControlOrder
from ...topology.wire.orders import LIFTS, Verb
from ..gates.pauses import Ordered, Pause, Pauses
from .order_takers import StandingOrders, utc_now

STATES: Final[Mapping[str, str]] = {Verb.PAUSE: "paused", Verb.BLOCK: "blocked"}
_LIFTED_BY: Final = {lifted: lifting for lifting, lifted in LIFTS.items()}


class PauseOrders(StandingOrders):
    """Pauses, for all queues of this process."""

    def __init__(self, pauses: Mapping[str, Pauses], clock: Callable[[], datetime] = utc_now) -> None:
        """Begin without any.

        Args:
            pauses: {queue: the pauses of this process}.
        """
        super().__init__(clock)
        self._pauses = pauses

    @property
    def verbs(self) -> Collection[str]:
        """The verb of pauses."""
        return (Verb.PAUSE,)

    def begin(self, order: ControlOrder) -> None:
        """Hold the jobs back."""
        for pauses, pause in self._concerned(order):
            pauses.begin(pause)

    def end(self, order: ControlOrder) -> None:
        """Let them pass."""
        for pauses, pause in self._concerned(order):
            pauses.end(pause)

    def _concerned(self, order: ControlOrder) -> list[tuple[Pauses, Pause]]:
        names = self._pauses if order.queue is None else [order.queue] if order.queue in self._pauses else []
        return [(self._pauses[name], pause_of(order, name)) for name in names]


def pause_of(order: ControlOrder, queue: str) -> Pause:
    """The pause of one queue that an order asks for."""
    ordered = Ordered(
        order_id=order.order_id,
        state=STATES[order.verb],
        operator=order.operator,
        reason=order.reason,
        until_at_s=None if order.until is None else order.until.timestamp(),
        lift=lifting_command(order),
    )
    return Pause(queue, order.job_type, order.key, order.tenant, order.partition, ordered)


def lifting_command(order: ControlOrder) -> str:
    """The command that lifts an order: `stoker control resume --queue mails`."""
    options: dict[str, object] = {
        "queue": order.queue,
        "type": order.job_type,
        "key": None if order.key is None else wire_text(order.key),
        "tenant": order.tenant,
        "partition": order.partition,
    }
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    return f"stoker control {_LIFTED_BY[Verb(order.verb)]} {shlex.join(words)}"
