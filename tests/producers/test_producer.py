"""`Producer` on a real cluster: what it publishes, confirms and refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest

from stoker.producers import Producer, Receipt
from stoker.producers.errors import (
    ContractNotReady,
    EnqueueError,
    OptionRefused,
    PayloadRefused,
    PayloadTooLarge,
    ProducerClosed,
    ProducerForked,
    RecordTooLarge,
    TopologyNotReady,
    UnknownTopic,
    WouldDeadlock,
)
from stoker.schemas import Decoder
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.cluster.admin import Administration
from stoker.topology.planning.schema_store import schema_store
from support.kafka.configs import change_configs
from support.scenes.shop import Shop, create_topics, declare_shop, end_offsets, headers_of, read_all
from support.waiting import wait_until

DEADLINE_S = 60.0


def run_program(code: str, shop: Shop, cluster: ClusterSettings) -> None:
    """Run this code in a process of its own, which is to end well."""
    arguments = [sys.executable, "-c", f"import stoker; {code}", shop.pipeline.namespace, cluster.bootstrap_servers]
    path = os.pathsep.join(["tests", *sys.path])
    subprocess.run(arguments, check=True, timeout=DEADLINE_S, env={**os.environ, "PYTHONPATH": path})


def test_parameters_may_have_the_names_of_the_methods_own(
    producer: Producer, shop: Shop, cluster: ClusterSettings
) -> None:
    """A job whose parameters are called `job`, `self` or `key` is enqueued by name in each way there is."""
    arguments = {"self": 1, "job": 2, "timeout": 3, "calls": 4, "key": 5}
    producer.enqueue(shop.collide, **arguments)
    producer.enqueue(shop.collide.with_options(job_id="x"), **arguments)
    producer.enqueue_future(shop.collide, **arguments).result(DEADLINE_S)
    producer.enqueue_many([shop.collide.call(**arguments)])
    assert [message.key() for message in read_all(cluster, shop.mails)] == [b"2"] * 4


def test_a_confirmed_job_is_where_its_receipt_says(producer: Producer, shop: Shop, cluster: ClusterSettings) -> None:
    """A plain Kafka client finds the job at the receipt's partition and offset, with its key, headers and value."""
    receipt = producer.enqueue(shop.charge, "acc-1", 250)
    [message] = read_all(cluster, shop.mails)
    assert (message.topic(), message.partition(), message.offset()) == (
        receipt.topic,
        receipt.partition,
        receipt.offset,
    )
    assert message.key() == b"acc-1"
    assert list(headers_of(message)) == [
        "ce_specversion",
        "ce_type",
        "ce_source",
        "content-type",
        "ce_id",
        "ce_time",
    ]
    assert headers_of(message)["ce_id"] == receipt.job_id.encode()
    value = message.value()
    assert isinstance(value, bytes)
    assert value[:2] == b"\xc3\x01"


def test_a_worker_can_decode_what_was_published(producer: Producer, shop: Shop, cluster: ClusterSettings) -> None:
    """The contract is registered before the job is published, so another process finds it and decodes."""
    producer.enqueue(shop.send_receipt, 7, "a@b.example")
    store = schema_store(shop.pipeline, cluster)
    store.refresh(DEADLINE_S)
    [message] = read_all(cluster, shop.mails)
    value = message.value()
    assert isinstance(value, bytes)
    datum = Decoder(store).decode(shop.send_receipt.contract, value)
    assert shop.send_receipt.contract.arguments(datum) == ((), {"order_id": 7, "address": "a@b.example"})


def test_jobs_of_a_key_keep_their_order(producer: Producer, shop: Shop, cluster: ClusterSettings) -> None:
    """Pipelined jobs of each key are in one partition, in the order in which they were enqueued."""
    futures = [producer.enqueue_future(shop.charge, f"acc-{n % 7}", n) for n in range(2_000)]
    ids = {future.result(DEADLINE_S).job_id: n for n, future in enumerate(futures)}
    places: dict[bytes, set[int]] = {}
    order: dict[bytes, list[int]] = {}
    for message in read_all(cluster, shop.mails):
        key, place = message.key(), message.partition()
        assert isinstance(key, bytes)
        assert place is not None
        places.setdefault(key, set()).add(place)
        order.setdefault(key, []).append(ids[headers_of(message)["ce_id"].decode()])
    assert len(order) == 7
    assert all(len(found) == 1 for found in places.values())
    assert all(numbers == sorted(numbers) for numbers in order.values())


def test_many_threads_share_a_producer(producer: Producer, shop: Shop, cluster: ClusterSettings) -> None:
    """Eight threads enqueue at once through one producer, and every job is confirmed and there once."""
    with ThreadPoolExecutor(8) as threads:
        receipts = list(threads.map(lambda n: producer.enqueue(shop.charge, f"acc-{n}", n), range(400)))
    published = sorted(headers_of(message)["ce_id"].decode() for message in read_all(cluster, shop.mails))
    assert published == sorted(receipt.job_id for receipt in receipts)


def test_repetitions_of_an_identity_meet_in_one_partition(producer: Producer, shop: Shop) -> None:
    """Jobs without a key but of one idempotency key go to one partition, so that its ledger sees each."""
    once = shop.send_receipt.with_options(idempotency_key="receipt:7")
    assert len({producer.enqueue(once, 7, "a").partition for _ in range(8)}) == 1


def test_a_refused_call_sends_nothing(producer: Producer, shop: Shop, cluster: ClusterSettings) -> None:
    """Whatever is refused before it is sent leaves every partition as it was."""
    producer.enqueue(shop.send_receipt, 1, "a")
    before = end_offsets(cluster, shop.mails)
    with pytest.raises(PayloadRefused, match="order_id"):
        producer.enqueue(shop.send_receipt, "seven", "a")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(PayloadRefused, match="address"):
        producer.enqueue(shop.send_receipt, 7)  # type: ignore[call-arg]  # on purpose
    with pytest.raises(PayloadTooLarge):
        producer.enqueue(shop.charge, "x" * 1_000, 1)
    with pytest.raises(OptionRefused, match="past"):
        producer.enqueue(shop.send_receipt.with_options(expires=timedelta(0)), 7, "a")
    with pytest.raises(OptionRefused, match="only Stoker"):
        producer.enqueue(shop.send_receipt.with_options(headers={"ce_id": "x"}), 7, "a")
    producer.flush()
    assert end_offsets(cluster, shop.mails) == before


def test_a_job_type_of_another_pipeline_is_refused(producer: Producer) -> None:
    """A producer enqueues the jobs of its own pipeline only, whose contracts it has registered."""
    stranger = declare_shop("elsewhere")
    with pytest.raises(OptionRefused, match="not declared in the pipeline"):
        producer.enqueue(stranger.send_receipt, 1, "a")


def test_missing_topics_are_reported_at_the_start(cluster: ClusterSettings, namespace: str) -> None:
    """A producer of topics that were never created names the command that creates them, and sends nothing."""
    shop = declare_shop(namespace)
    producer = Producer(shop.pipeline, cluster)
    with pytest.raises(TopologyNotReady, match="stoker topology apply"):
        producer.start()
    with pytest.raises(TopologyNotReady, match="stoker topology apply"):
        producer.enqueue(shop.send_receipt, 1, "a")
    create_topics(shop, cluster)
    assert producer.enqueue(shop.send_receipt, 1, "a").offset >= 0, "it does not try again"
    producer.close()


def test_an_incompatible_contract_is_reported_before_the_first_job(
    producer: Producer, shop: Shop, cluster: ClusterSettings
) -> None:
    """A job whose changed contract breaks the readers of its topic is not published."""
    producer.enqueue(shop.send_receipt, 1, "a")
    changed = Pipeline(shop.pipeline.namespace)
    mails = changed.queue("mails", partitions=4)

    @changed.job(mails)
    def send_receipt(order_id: bool) -> None:
        """Mail a receipt."""

    with Producer(changed, cluster) as other, pytest.raises(ContractNotReady, match="BACKWARD"):
        other.enqueue(send_receipt, True)
    assert len(read_all(cluster, shop.mails)) == 1


def test_a_topic_deleted_under_the_producer_is_reported_as_unknown(shop: Shop, cluster: ClusterSettings) -> None:
    """A topic that is gone fails the job within the bound, naming the command that fixes it."""
    with Producer(shop.pipeline, cluster, confirm_timeout=timedelta(seconds=15)) as producer:
        producer.enqueue(shop.send_receipt, 0, "a")  # from here on the producer takes the topic for granted
        administration = Administration(cluster)
        administration.delete([shop.mails.topic])
        wait_until(lambda: not administration.topics([shop.mails.topic]), what="the topic to be gone")
        with pytest.raises(UnknownTopic, match="stoker topology apply"):
            producer.enqueue(shop.send_receipt, 1, "a")


def test_a_record_above_the_brokers_limit_is_reported_as_such(
    producer: Producer, shop: Shop, cluster: ClusterSettings
) -> None:
    """What the job type allows but the brokers do not is refused as too large, and other jobs pass after it."""
    producer.enqueue(shop.send_receipt, 1, "a")
    change_configs(cluster, {shop.mails.topic: {"max.message.bytes": "2000"}})

    def refusal() -> RecordTooLarge | None:
        """A broker may take one more after it has shown the new limit: it puts that to use a moment later."""
        try:
            producer.enqueue(shop.send_receipt, 2, "x" * 40_000)
        except RecordTooLarge as refused:
            return refused
        return None

    refused = wait_until(refusal, DEADLINE_S, "the new limit to hold")
    assert refused is not None
    assert "max.message.bytes" in str(refused)
    assert not refused.maybe_published
    assert producer.enqueue(shop.send_receipt, 3, "a").offset >= 0


def test_a_closed_producer_refuses(shop: Shop, cluster: ClusterSettings) -> None:
    """After `close`, which may be repeated, every call says that the producer is closed."""
    producer = Producer(shop.pipeline, cluster)
    producer.enqueue(shop.send_receipt, 1, "a")
    producer.close()
    producer.close()
    with pytest.raises(ProducerClosed):
        producer.enqueue(shop.send_receipt, 1, "a")
    with pytest.raises(ProducerClosed):
        producer.enqueue_future(shop.send_receipt, 1, "a")
    with pytest.raises(ProducerClosed):
        producer.enqueue_many([shop.send_receipt.call(1, "a")])


def test_close_waits_for_pending_futures(shop: Shop, cluster: ClusterSettings) -> None:
    """What was enqueued without waiting is confirmed when `close` returns."""
    with Producer(shop.pipeline, cluster) as producer:
        futures = [producer.enqueue_future(shop.send_receipt, n, "a") for n in range(500)]
    assert all(future.done() for future in futures)
    assert len({future.result().job_id for future in futures}) == 500


WAITING: dict[str, Callable[[Producer, Shop], object]] = {
    "enqueue": lambda producer, shop: producer.enqueue(shop.send_receipt, 2, "a"),
    "enqueue_many": lambda producer, shop: producer.enqueue_many([shop.send_receipt.call(2, "a")]),
    "check": lambda producer, _shop: producer.check(),
    "flush": lambda producer, _shop: producer.flush(),
    "close": lambda producer, _shop: producer.close(),
}


@pytest.mark.parametrize("call", WAITING.values(), ids=WAITING)
def test_waiting_inside_a_callback_is_refused(
    producer: Producer, shop: Shop, call: Callable[[Producer, Shop], object]
) -> None:
    """A future's callback runs where reports are read, so a waiting call there is an error, not a hang."""
    outcome: Future[object] = Future()

    def enqueue_more(_done: Future[Receipt]) -> None:
        try:
            outcome.set_result(call(producer, shop))
        except EnqueueError as error:
            outcome.set_exception(error)

    producer.enqueue_future(shop.send_receipt, 1, "a").add_done_callback(enqueue_more)
    with pytest.raises(WouldDeadlock):
        outcome.result(DEADLINE_S)


MORE_IN_CALLBACKS = """
import sys
from concurrent.futures import Future
from support.scenes.shop import declare_shop
from stoker.producers import Producer
from stoker.topology import ClusterSettings
shop = declare_shop(sys.argv[1])
with Producer(shop.pipeline, ClusterSettings(bootstrap_servers=sys.argv[2])) as producer:
    more = [Future() for _ in range(500)]
    def enqueue_more(number):
        more[number].set_result(producer.enqueue_future(shop.send_receipt, number, "b"))
    for number in range(500):
        future = producer.enqueue_future(shop.send_receipt, number, "a")
        future.add_done_callback(lambda _done, number=number: enqueue_more(number))
    for future in more:
        future.result(60).result(60)
"""


def test_callbacks_enqueue_more_however_many_they_are(shop: Shop, cluster: ClusterSettings) -> None:
    """confluent-kafka aborts a process that reads reports in the callback of a report, as every 64th call would."""
    run_program(MORE_IN_CALLBACKS, shop, cluster)
    assert len(read_all(cluster, shop.mails)) == 1_000


def test_a_producer_is_refused_in_a_forked_child_and_goes_on_in_the_parent(producer: Producer, shop: Shop) -> None:
    """After os.fork the child is told to make its own, can close its copy and exit; the parent publishes on."""
    producer.enqueue(shop.send_receipt, 1, "a")
    child = os.fork()
    if child == 0:
        os._exit(_outcome_in_child(producer, shop))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert producer.enqueue(shop.send_receipt, 2, "a").offset >= 0


def _outcome_in_child(producer: Producer, shop: Shop) -> int:
    signal.alarm(60)  # a hang must not outlive the test
    try:
        producer.enqueue(shop.send_receipt, 2, "a")
    except ProducerForked:
        producer.close()
        return 0
    return 1


PENDING_AT_EXIT = """
import sys
from support.scenes.shop import declare_shop
from stoker.producers import Producer
from stoker.topology import ClusterSettings
shop = declare_shop(sys.argv[1])
producer = Producer(shop.pipeline, ClusterSettings(bootstrap_servers=sys.argv[2]))
for number in range(500):
    producer.enqueue_future(shop.send_receipt, number, "a")
"""


def test_a_program_that_ends_without_closing_still_publishes(shop: Shop, cluster: ClusterSettings) -> None:
    """Pending jobs are flushed when the program ends, although nobody closed the producer."""
    run_program(PENDING_AT_EXIT, shop, cluster)
    assert len(read_all(cluster, shop.mails)) == 500
