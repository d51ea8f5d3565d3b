"""A relay in a process of its own that may kill itself at a given place.

Arguments: bootstrap servers, namespace, URL of the database, and `never` or the place at which to die: `read` (rows are
read, none is sent), `sent` (they are handed to the client), or `confirmed` (the brokers have some, none is deleted).
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

from stoker.producers.outbox import OutboxRelay
from stoker.producers.outbox.flight import Flight
from stoker.topology import ClusterSettings
from support.programs.crashing_worker import die
from support.scenes.shop import declare_shop

PLACES: Final = ("read", "sent", "confirmed")


def die_at(place: str) -> None:
    """Make this process kill itself when the relay comes to that place with rows."""
    if place in {"read", "sent"}:
        send = Flight.send

        def dying(self: Flight, rows: Any) -> int:
            known = list(rows)
            sent = send(self, known) if place == "sent" else 0
            if sent or (known and place == "read"):
                die()
            return sent

        Flight.send = dying  # type: ignore[method-assign]  # the place of the kill
    elif place == "confirmed":
        poll = Flight.poll

        def dying_poll(self: Flight, timeout_s: float) -> None:
            poll(self, timeout_s)
            if self.confirmed:
                die()

        Flight.poll = dying_poll  # type: ignore[method-assign]  # the place of the kill


def main() -> None:
    """Publish until killed."""
    servers, namespace, url, place = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)
    die_at(place)
    OutboxRelay(declare_shop(namespace).pipeline, url, ClusterSettings(bootstrap_servers=servers)).run()


if __name__ == "__main__":
    main()
