"""Errors of giving orders; `except ControlError` catches all but those of a cluster that does not answer.

    ControlError
    ├── OrderRefused       the order makes no sense as it is: fix the call; nothing was ordered
    ├── ControlNotReady    the topics of control are missing: apply the topology; nothing was ordered
    └── OrderUnconfirmed   the brokers did not confirm the order: perhaps ordered

`ClusterUnreachable` and `NotAuthorized` are those of `stoker.topology`.
"""

from __future__ import annotations

from collections.abc import Iterable


class ControlError(Exception):
    """Root of everything that giving orders raises on purpose."""


class OrderRefused(ControlError):
    """The order makes no sense as it is; nothing was ordered."""

    def __init__(self, verb: str, reason: str) -> None:
        super().__init__(f"the order to {verb} is refused: {reason}; nothing was ordered")
        self.verb, self.reason = verb, reason


class ControlNotReady(ControlError):
    """A topic of orders, of workers' statuses or of the audit trail is missing; nothing was ordered."""

    def __init__(self, topics: Iterable[str]) -> None:
        self.topics = tuple(topics)
        super().__init__(f"the cluster has no topic {', '.join(self.topics)}; run `stoker topology apply`")


class OrderUnconfirmed(ControlError):
    """The brokers did not confirm the order.

    Attributes:
        order_ids: of the orders; give them again, which does no harm.
        is_perhaps_ordered: whether it may stand all the same.
    """

    def __init__(self, order_ids: Iterable[str], cause: str, *, is_perhaps_ordered: bool) -> None:
        self.order_ids, self.is_perhaps_ordered = tuple(order_ids), is_perhaps_ordered
        outcome = (
            "it may stand all the same (`stoker control log` shows it)" if is_perhaps_ordered else "nothing was ordered"
        )
        super().__init__(
            f"the brokers did not confirm the order ({cause}): {outcome}; give it again. "
            "If only the audit topic refuses it, `stoker control` gives it with `--without-audit`"
        )
