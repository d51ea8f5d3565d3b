"""The Faust process, without Kafka: what it keeps until a snapshot is confirmed is bounded."""

from __future__ import annotations

import subprocess
import sys

SCENE = """
import asyncio
from types import SimpleNamespace
from stoker.operations.statistics import faust_worker
from stoker.operations.statistics.messages import ProcessSettings
from stoker.operations.statistics.panes import FoldCounts, PartitionFold

faust_worker.MOST_UNWRITTEN_BYTES = 1_000
read = []

class Stream:
    def noack(self): return self
    async def events(self):
        for offset in range(100):
            read.append(offset)
            yield SimpleNamespace(message=SimpleNamespace(partition=0, offset=offset), value=b"x" * 100)

async def main():
    names = {"events": "e", "stats": "s", "group": "s", "member": "a"}
    settings = ProcessSettings(bootstrap_servers="localhost:1", options={}, stats_partitions=1, **names)
    app = faust_worker.StatisticsApp(settings)
    app._folds[0] = PartitionFold(0, {}, 0, FoldCounts())
    folding = asyncio.create_task(app._fold(Stream()))
    await asyncio.wait([folding], timeout=0.5)
    print(len(read))
    app._take_unwritten()
    await asyncio.wait([folding], timeout=0.5)
    print(len(read))
    while not folding.done():
        app._take_unwritten()
        await asyncio.sleep(0.01)
    print(len(read))

asyncio.run(main())
"""


def test_events_wait_while_a_snapshot_is_not_confirmed() -> None:
    """Those of an hour come faster than slow brokers confirm: they filled the memory until the process was killed."""
    done = subprocess.run([sys.executable, "-c", SCENE], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["11", "22", "100"], done.stderr
