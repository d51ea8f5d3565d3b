"""`RenewedReader`: clients that have been cut off for good do not leave a queue without its bound."""

from __future__ import annotations

import pytest

from stoker.producers.admission.depth import Depth
from stoker.producers.admission.renewed_reader import RENEW_AFTER_S, RenewedReader
from stoker.topology import ClusterUnreachable


class Client:
    """Reads, unless it is cut off."""

    def __init__(self) -> None:
        self.is_cut_off = self.is_closed = False

    def read(self) -> Depth:
        """See DepthReader."""
        if self.is_cut_off:
            raise ClusterUnreachable("localhost:9092", "no broker is known")
        return Depth(waiting=3)

    def close(self) -> None:
        """See DepthReader."""
        self.is_closed = True


class Clients:
    """Makes clients, in time as a test sets it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.made: list[Client] = []
        self.reader = RenewedReader(self.make, lambda: self.now_s)

    def make(self) -> Client:
        """Another client."""
        self.made.append(Client())
        return self.made[-1]

    def fails_at(self, now_s: float) -> bool:
        """Whether a reading at this time fails."""
        self.now_s = now_s
        try:
            self.reader.read()
        except ClusterUnreachable:
            return True
        return False


def test_another_client_reads_where_one_has_failed_for_a_while() -> None:
    """The one that was cut off is closed."""
    clients = Clients()
    assert clients.reader.read() == Depth(waiting=3)
    clients.made[0].is_cut_off = True
    assert [clients.fails_at(now_s) for now_s in (1.0, 1.0 + RENEW_AFTER_S)] == [True, True]
    assert clients.made[0].is_closed
    assert clients.reader.read() == Depth(waiting=3)
    assert len(clients.made) == 2


def test_a_client_is_kept_through_an_outage_that_is_short_or_over() -> None:
    """The time counts from the first of the failures that follow each other."""
    clients = Clients()
    clients.reader.read()
    client = clients.made[0]
    client.is_cut_off = True
    assert clients.fails_at(1.0)
    client.is_cut_off = False
    assert not clients.fails_at(RENEW_AFTER_S)
    client.is_cut_off = True
    assert clients.fails_at(2.0 + RENEW_AFTER_S)
    assert not client.is_closed
    clients.reader.close()
    assert client.is_closed


def test_a_client_that_cannot_be_made_is_made_by_the_next_reading() -> None:
    """And `close` has nothing to close before."""
    failed = [True]

    def make() -> Client:
        if failed.pop():
            failed.append(False)
            raise ClusterUnreachable("localhost:9092", "no thread is left")
        return Client()

    reader = RenewedReader(make)
    with pytest.raises(ClusterUnreachable):
        reader.read()
    reader.close()
    assert reader.read() == Depth(waiting=3)
