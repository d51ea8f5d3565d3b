"""`enqueue_many`: all confirmed or an account of what failed, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stoker.producers import Producer
from stoker.producers.bulk import BulkRun
from stoker.producers.errors import BulkFailed, OptionRefused, PayloadRefused
from stoker.topology import ClusterSettings
from stoker.topology.declaration.job_type import JobCall
from support.scenes.shop import Shop, end_offsets, headers_of, read_all


def test_a_bulk_returns_when_all_are_confirmed(producer: Producer, shop: Shop, cluster: ClusterSettings) -> None:
    """Every job of the iterable is on its topic when the call returns, in order for each key."""
    result = producer.enqueue_many(shop.charge.call(f"acc-{n % 50}", n) for n in range(5_000))
    assert result.confirmed == 5_000
    assert sum(end_offsets(cluster, shop.mails)) == 5_000
    decoded: dict[bytes, list[int]] = {}
    for message in read_all(cluster, shop.mails):
        key, value = message.key(), message.value()
        assert isinstance(key, bytes)
        assert isinstance(value, bytes)
        cents = shop.charge.contract.codec.decode(value, 10)["cents"]
        assert isinstance(cents, int)
        decoded.setdefault(key, []).append(cents)
    assert decoded == {f"acc-{k}".encode(): list(range(k, 5_000, 50)) for k in range(50)}


def test_an_iterator_is_read_no_faster_than_the_brokers_confirm(
    producer: Producer, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 200,000 calls made on the fly, never more than the bound is taken and unconfirmed, so memory is bounded."""
    seen: list[int] = []
    offer = BulkRun.offer

    def watched(run: BulkRun, call: JobCall, record: object) -> bool:
        seen.append(run._connection.in_flight)
        return offer(run, call, record)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(BulkRun, "offer", watched)
    calls = (shop.charge.call(f"acc-{n % 50}", n) for n in range(200_000))
    assert producer.enqueue_many(calls, max_in_flight=2_000).confirmed == 200_000
    assert 500 < max(seen) < 2_500, "the client's count has its unread reports in it, which are few"


def test_an_empty_bulk_is_confirmed(producer: Producer) -> None:
    """Nothing to do is done."""
    assert producer.enqueue_many([]).confirmed == 0


def test_refused_calls_are_listed_and_the_others_confirmed(
    producer: Producer, shop: Shop, cluster: ClusterSettings
) -> None:
    """A call that does not fit is told by its place, and stops none of the others."""
    calls = [shop.charge.call(f"acc-{n}", n) for n in range(300)]
    calls[17] = JobCall(shop.charge, ("acc-17", "many"), {})
    calls[290] = JobCall(shop.charge, (), {})
    with pytest.raises(BulkFailed, match=r"2 of 300 jobs failed and 298 are confirmed.*number 17") as caught:
        producer.enqueue_many(calls)
    failed = caught.value
    assert (failed.confirmed, failed.read, failed.failed_indexes) == (298, 300, (17, 290))
    assert [type(failure.error) for failure in failed.failures] == [PayloadRefused, PayloadRefused]
    assert not failed.maybe_published
    assert sum(end_offsets(cluster, shop.mails)) == 298


def test_a_bulk_of_nothing_but_refused_calls_stops(producer: Producer, shop: Shop) -> None:
    """After 1,000 refused calls the iterable, which may be endless, is not read on."""

    def endless() -> Iterator[JobCall]:
        while True:
            yield JobCall(shop.charge, (), {})

    with pytest.raises(BulkFailed) as caught:
        producer.enqueue_many(endless())
    assert (caught.value.read, len(caught.value.failed_indexes), len(caught.value.failures)) == (1_000, 1_000, 100)


def test_an_error_of_the_iterable_passes_through_and_says_what_is_confirmed(
    producer: Producer, shop: Shop, cluster: ClusterSettings
) -> None:
    """The caller's own error is not swallowed; what was taken before it is confirmed and counted in a note."""

    def broken() -> Iterator[JobCall]:
        yield from (shop.charge.call(f"acc-{n}", n) for n in range(40))
        raise ZeroDivisionError("the caller's own")

    with pytest.raises(ZeroDivisionError) as caught:
        producer.enqueue_many(broken())
    assert caught.value.__notes__ == ["before this, 40 jobs of the bulk were confirmed"]
    assert sum(end_offsets(cluster, shop.mails)) == 40


def test_a_stopped_bulk_counts_its_failures_too(producer: Producer, shop: Shop) -> None:
    """What was refused before the iterable raised is in the notes, and with its errors in the attribute `bulk`."""

    def broken() -> Iterator[JobCall]:
        yield from (shop.charge.call(f"acc-{n}", n) for n in range(40))
        yield JobCall(shop.charge, ("acc", "many"), {})
        raise ZeroDivisionError("the caller's own")

    with pytest.raises(ZeroDivisionError) as caught:
        producer.enqueue_many(broken())
    account = getattr(caught.value, "bulk", None)
    assert isinstance(account, BulkFailed)
    assert (account.confirmed, account.read, account.failed_indexes) == (40, 41, (40,))
    assert "1 failed" in caught.value.__notes__[1]


def test_what_is_no_call_is_reported_with_its_place(producer: Producer, shop: Shop) -> None:
    """A job type in place of a call of it ends the reading with a sentence, and what was before it is confirmed."""
    with pytest.raises(TypeError, match=r"number 1 is a JobType, and no call: give job_type\.call") as caught:
        producer.enqueue_many([shop.charge.call("acc", 1), shop.charge])  # type: ignore[list-item]  # on purpose
    assert caught.value.__notes__ == ["before this, 1 job of the bulk was confirmed"]


def test_a_key_that_cannot_be_made_refuses_its_call_only(producer: Producer, shop: Shop) -> None:
    """A key function that raises for one call is told by the call's place, and stops none of the others."""
    keys = {"a": "1", "b": "2"}
    picky = shop.pipeline.job(shop.mails, name="picky", key=lambda account: keys[account])(_of_account)
    with pytest.raises(BulkFailed, match="key could not be made: its function raised KeyError") as caught:
        producer.enqueue_many([picky.call("a"), picky.call("c"), picky.call("b")])
    assert (caught.value.confirmed, caught.value.failed_indexes) == (2, (1,))
    with pytest.raises(OptionRefused, match="raised KeyError"):
        producer.enqueue(picky, "c")


def _of_account(account: str) -> None:
    """Have an account."""


def test_a_bulk_inside_a_bulk_works(producer: Producer, shop: Shop, cluster: ClusterSettings) -> None:
    """An iterable may itself enqueue through the same producer."""

    def nested() -> Iterator[JobCall]:
        for n in range(3):
            producer.enqueue(shop.send_receipt, n, "inner")
            producer.enqueue_many([shop.send_receipt.call(n, "inner bulk")])
            yield shop.send_receipt.call(n, "outer")

    assert producer.enqueue_many(nested()).confirmed == 3
    assert len({headers_of(message)["ce_id"] for message in read_all(cluster, shop.mails)}) == 9


def test_the_bound_is_at_least_one(producer: Producer) -> None:
    """A bound under which nothing could ever be sent is refused."""
    with pytest.raises(ValueError, match="max_in_flight"):
        producer.enqueue_many([], max_in_flight=0)
