"""The faults: what each kind does to a running stage, with all particulars drawn from the plan."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from confluent_kafka import Consumer, ElectionType, KafkaException
from confluent_kafka.admin import AdminClient

from chaos.clock import write_offset
from chaos.cluster.nodes import Node, Nodes, restart_killed
from chaos.cluster.proxy import CALM, Proxy, Weather
from chaos.fleet.processes import Fleet, Watched, freeze, send
from chaos.judging.account import Strike
from chaos.plan import SESSION_TIMEOUT, Fault
from chaos.sharing.ledger import last_owner
from stoker.topology import Queue

T = TypeVar("T")

SESSION_TIMEOUT_S: Final = SESSION_TIMEOUT.total_seconds()
ADMIN_TIMEOUT_S: Final = 60.0
WHOLE_TIMEOUT_S: Final = 300.0
STORM_BEAT_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """All that can be hit.

    Attributes:
        operators: processes that give orders or change schedules.
        clock: the queue of the jobs of schedules; alone: that of unique jobs; limited: that of jobs with limits,
            where there is one.
    """

    folder: Path
    nodes: Nodes
    proxy: Proxy
    fleets: Sequence[Fleet]
    producers: Sequence[Watched]
    operators: Sequence[Watched]
    queues: Sequence[Queue]
    clock: Queue
    alone: Queue
    limited: Queue | None
    database: str

    def workers(self) -> list[int]:
        """All processes that run jobs."""
        return [pid for fleet in self.fleets for pid in fleet.workers()]


_on_workers, _on_producers, _on_brokers, _on_clock = (threading.Lock() for _ in range(4))


def strike(fault: Fault, stage: Stage) -> Strike:
    """Do a fault, and return when its cause is gone."""
    lock, act = _ACTS[fault.kind]
    with lock:
        done = Strike(kind=fault.kind, after=fault.after, begin_s=time.monotonic())
        act(fault, stage, done)
        done.end_s = time.monotonic()
    return done


# ---- processes


def _kill_workers(fault: Fault, stage: Stage, done: Strike) -> None:
    """One to three of them within a moment."""
    found = stage.workers()
    count = min(len(found), 1 + int(fault.draw[0] * fault.draw[0] * 3))
    first = int(fault.draw[1] * len(found))
    _kill([found[(first + step) % len(found)] for step in range(count)], done)


def _kill_fleet(fault: Fault, stage: Stage, done: Strike) -> None:
    """A supervisor and all of its processes, as when a machine is lost."""
    fleet = _pick(stage.fleets, fault.draw[0])
    _kill(sorted({fleet.pid, *fleet.workers()}), done)


def _kill_coordinator(_fault: Fault, stage: Stage, done: Strike) -> None:
    """The worker that gives out the shares of limits: the last that ran a job of the queue's first partition."""
    pid = None if stage.limited is None else last_owner(stage.folder, f"{stage.limited.topic}/0")
    if pid is not None:
        _kill([pid], done)


def _kill_producer(fault: Fault, stage: Stage, done: Strike) -> None:
    running = [producer for producer in stage.producers if not producer.is_finished()]
    if running:
        _kill([_pick(running, fault.draw[0]).pid], done)


def _kill_operator(fault: Fault, stage: Stage, done: Strike) -> None:
    """One that gives orders, or changes schedules; perhaps amid a transaction."""
    running = [operator for operator in stage.operators if not operator.is_finished()]
    if running:
        _kill([_pick(running, fault.draw[0]).pid], done)


def _kill(pids: list[int], done: Strike) -> None:
    done.pids = [pid for pid in pids if send(pid, signal.SIGKILL)]
    done.detail = f"SIGKILL to {len(done.pids)}"


def _stop_worker(fault: Fault, stage: Stage, done: Strike) -> None:
    """As a deploy does: it shuts down in order, and its supervisor starts another."""
    if found := stage.workers():
        done.pids = [pid for pid in [_pick(found, fault.draw[0])] if send(pid, signal.SIGTERM)]


def _pause_worker(fault: Fault, stage: Stage, done: Strike) -> None:
    """Past the session timeout, so that it goes on as a zombie whose partitions are another's."""
    if found := stage.workers():
        length_s = SESSION_TIMEOUT_S + 0.5 + 4 * fault.draw[1]
        done.pids, done.detail = [_pick(found, fault.draw[0])], f"SIGSTOP for {length_s:.1f} s"
        freeze(done.pids[0], length_s)


# ---- brokers and network


def _kill_broker(fault: Fault, stage: Stage, done: Strike) -> None:
    _bring_back(stage, _node(fault, stage, done), Node.kill, 0.5 + 3 * fault.draw[1])


def _roll_broker(fault: Fault, stage: Stage, done: Strike) -> None:
    """Stopped in order, so that its leaderships move before it goes, and started again."""
    _bring_back(stage, _node(fault, stage, done), Node.stop, 0.2)


def _fill_disk(fault: Fault, stage: Stage, done: Strike) -> None:
    """Its writes fail; a broker that cannot write to its only folder ends itself. Room is made, and it is started."""
    node = _node(fault, stage, done)
    node.fill_disk()
    give_up_at_s = time.monotonic() + 4 + 4 * fault.draw[1]
    while node.is_alive() and time.monotonic() < give_up_at_s:
        time.sleep(0.1)
    done.detail += ", ended itself" if not node.is_alive() else ", hung on"
    _bring_back(stage, node, Node.kill, 0.5)


def _bring_back(stage: Stage, node: Node, end: Callable[[Node], None], pause_s: float) -> None:
    end(node)
    restart_killed(node, pause_s)
    stage.nodes.wait_whole(WHOLE_TIMEOUT_S)


def _move_leaders(_fault: Fault, stage: Stage, done: Strike) -> None:
    """Back to the preferred replicas, from wherever broker restarts have moved them."""
    admin = AdminClient({"bootstrap.servers": stage.nodes.direct, "log_level": 0})
    try:
        moved = admin.elect_leaders(ElectionType.PREFERRED, None).result(ADMIN_TIMEOUT_S)
        done.detail = f"{len(moved)} leaders moved"
    except KafkaException as refused:
        done.detail = f"not moved: {refused.args[0].name()}"


def _cut_network(fault: Fault, stage: Stage, done: Strike) -> None:
    _weather(fault, stage, done, Weather(is_cut=True))


def _freeze_network(fault: Fault, stage: Stage, done: Strike) -> None:
    _weather(fault, stage, done, Weather(is_frozen=True))


def _delay_network(fault: Fault, stage: Stage, done: Strike) -> None:
    _weather(fault, stage, done, Weather(delay_s=0.05 + 0.4 * fault.draw[2]))


def _throttle_network(fault: Fault, stage: Stage, done: Strike) -> None:
    _weather(fault, stage, done, Weather(bytes_per_s=20_000 + int(100_000 * fault.draw[2])))


def _weather(fault: Fault, stage: Stage, done: Strike, weather: Weather) -> None:
    """At one node, or at all of them."""
    nodes = stage.nodes.nodes if fault.draw[0] < 0.3 else [_pick(stage.nodes.nodes, (fault.draw[0] - 0.3) / 0.7)]
    length_s = 1 + 6 * fault.draw[1]
    done.detail = f"node {', '.join(str(node.number) for node in nodes)} for {length_s:.1f} s: {weather}"
    for node in nodes:
        stage.proxy.change(node.doors.advertised, weather)
    time.sleep(length_s)
    for node in nodes:
        stage.proxy.change(node.doors.advertised, CALM)


def _node(fault: Fault, stage: Stage, done: Strike) -> Node:
    node = _pick(stage.nodes.nodes, fault.draw[0])
    done.detail = f"node {node.number}"
    return node


# ---- clock and group


def _jump_clock(fault: Fault, stage: Stage, done: Strike) -> None:
    """The wall clock of all workers and producers jumps by up to 40 s, forwards or back, and later returns."""
    offset_s = (fault.draw[0] - 0.5) * 80
    done.detail = f"by {offset_s:+.1f} s"
    write_offset(stage.folder / "clock", offset_s)
    time.sleep(2 + 4 * fault.draw[1])
    write_offset(stage.folder / "clock", 0)


def _storm(fault: Fault, stage: Stage, done: Strike) -> None:
    """A member of the group joins and leaves every second."""
    queue = _pick(stage.queues, fault.draw[0])
    beats = 3 + int(fault.draw[1] * 6)
    done.detail = f"{queue.name}, {beats} times"
    for _ in range(beats):
        with _member(stage, queue) as member:
            until_at_s = time.monotonic() + STORM_BEAT_S / 2
            while time.monotonic() < until_at_s:
                member.poll(0.05)
        time.sleep(STORM_BEAT_S / 2)


@contextmanager
def _member(stage: Stage, queue: Queue) -> Iterator[Consumer]:
    """A member that takes partitions, reads from them, commits nothing, and leaves."""
    member = Consumer(
        {
            "bootstrap.servers": stage.nodes.advertised,
            "group.id": queue.group,
            "group.protocol": "consumer",
            "group.remote.assignor": "range",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    member.subscribe(queue.job_topics)
    try:
        yield member
    finally:
        member.close()


def _pick(things: Sequence[T], share: float) -> T:
    return things[min(len(things) - 1, int(share * len(things)))]


Act = Callable[[Fault, Stage, Strike], None]
_ACTS: Final[dict[str, tuple[threading.Lock, Act]]] = {
    "kill_workers": (_on_workers, _kill_workers),
    "kill_fleet": (_on_workers, _kill_fleet),
    "kill_coordinator": (_on_workers, _kill_coordinator),
    "stop_worker": (_on_workers, _stop_worker),
    "pause_worker": (_on_workers, _pause_worker),
    "kill_producer": (_on_producers, _kill_producer),
    "kill_operator": (_on_producers, _kill_operator),
    "kill_broker": (_on_brokers, _kill_broker),
    "roll_broker": (_on_brokers, _roll_broker),
    "fill_disk": (_on_brokers, _fill_disk),
    "move_leaders": (_on_brokers, _move_leaders),
    "cut_network": (_on_brokers, _cut_network),
    "freeze_network": (_on_brokers, _freeze_network),
    "delay_network": (_on_brokers, _delay_network),
    "throttle_network": (_on_brokers, _throttle_network),
    "jump_clock": (_on_clock, _jump_clock),
    "storm_rebalances": (_on_workers, _storm),
}
