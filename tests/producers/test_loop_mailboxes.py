"""`LoopMailboxes`, without Kafka: each loop is woken for its own futures, whatever becomes of other loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from stoker.producers import Receipt
from stoker.producers.async_producer import LoopMailboxes
from stoker.producers.delivery import Outcome

RECEIPT = Receipt(job_id="1", topic="t", partition=0, offset=0)
SOON_S = 5.0


async def published(mailboxes: LoopMailboxes) -> Callable[[Outcome], None]:
    """What takes the report of a job whose future nobody awaits."""
    return mailboxes.settler(asyncio.get_running_loop().create_future())


async def confirmed(mailboxes: LoopMailboxes) -> Receipt:
    """The receipt of a job that another thread confirms while this one is awaited."""
    future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    threading.Timer(0.05, mailboxes.settler(future), [RECEIPT]).start()
    return await asyncio.wait_for(future, SOON_S)


def test_a_report_for_a_closed_loop_keeps_none_from_the_next_loop() -> None:
    """Of a job whose future nobody awaited, in an earlier `asyncio.run`."""
    mailboxes = LoopMailboxes()
    late = asyncio.run(published(mailboxes))
    late(RECEIPT)
    assert asyncio.run(confirmed(mailboxes)) is RECEIPT


def test_a_loop_that_closes_before_it_delivers_keeps_nothing_from_the_next_one() -> None:
    """It was woken, and ended before its turn."""
    mailboxes = LoopMailboxes()

    async def end_at_once() -> None:
        (await published(mailboxes))(RECEIPT)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(end_at_once())
    loop.close()
    assert asyncio.run(confirmed(mailboxes)) is RECEIPT


def test_two_loops_at_once_are_each_woken_for_their_own() -> None:
    """Also where the other one has not come to its turn yet, here for as long as the first one waits."""
    mailboxes = LoopMailboxes()
    busy = asyncio.new_event_loop()
    other: asyncio.Future[Receipt] = busy.create_future()
    mailboxes.settler(other)(RECEIPT)
    assert asyncio.run(confirmed(mailboxes)) is RECEIPT
    assert not other.done(), "only its own loop settles a future"
    assert busy.run_until_complete(asyncio.wait_for(other, SOON_S)) is RECEIPT
    busy.close()


def test_many_reports_wake_a_loop_once() -> None:
    """Those that come before its turn."""
    mailboxes, calls = LoopMailboxes(), 0
    loop = asyncio.new_event_loop()
    call_soon = loop.call_soon_threadsafe

    def counted(*arguments: object) -> asyncio.Handle:
        nonlocal calls
        calls += 1
        return call_soon(*arguments)  # type: ignore[arg-type]

    loop.call_soon_threadsafe = counted  # type: ignore[method-assign,assignment]
    futures: list[asyncio.Future[Receipt]] = [loop.create_future() for _ in range(100)]
    for future in futures:
        mailboxes.settler(future)(RECEIPT)
    assert loop.run_until_complete(asyncio.gather(*futures)) == [RECEIPT] * 100
    loop.close()
    assert calls == 1
