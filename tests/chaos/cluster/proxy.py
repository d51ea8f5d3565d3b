"""The network between clients and brokers: one listening port for each node, with weather that can be changed.

A process of its own (`python -m chaos.cluster.proxy '<json: {port: port of the broker}>'`), which reads commands from
its standard input, one JSON object a line: `{"port": 20001, "weather": {"delay_s": 0.2}}`. It ends with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final, cast

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 256 * 1024
_CONNECT_TIMEOUT_S: Final = 5.0
TESTS: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How a node's network is.

    Attributes:
        is_cut: connections are closed, new ones too.
        is_frozen: connections stand, and nothing passes: the peer that went without a word.
        delay_s: each piece of data comes so much later.
        bytes_per_s: no more than this passes, in each direction of each connection; 0 means no bound.
    """

    is_cut: bool = False
    is_frozen: bool = False
    delay_s: float = 0.0
    bytes_per_s: int = 0


CALM: Final = Weather()


class _Gate:
    """One node's listening port."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.weather = CALM
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def change(self, weather: Weather) -> None:
        """Let other weather hold from here on. Connections that were frozen end with the frost, as when a firewall
        has forgotten them."""
        was_frozen, self.weather = self.weather.is_frozen, weather
        if weather.is_frozen:
            self._thawed.clear()
        else:
            self._thawed.set()
        if weather.is_cut or was_frozen:
            for writer in list(self._writers):
                writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection of a client."""
        self._writers.add(writer)
        try:
            await self._connect(reader, writer)
        except OSError:
            pass  # either side has gone; the finally tells the other
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._thawed.wait()
        if self.weather.is_cut:
            return
        connecting = asyncio.open_connection(HOST, self.target)
        far_reader, far_writer = await asyncio.wait_for(connecting, _CONNECT_TIMEOUT_S)
        self._writers.add(far_writer)
        try:
            pumps = {
                asyncio.ensure_future(self._pump(reader, far_writer)),
                asyncio.ensure_future(self._pump(far_reader, writer)),
            }
            _, rest = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in rest:
                pump.cancel()
        finally:
            self._writers.discard(far_writer)
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                weather = self.weather
                if weather.delay_s:
                    await asyncio.sleep(weather.delay_s)
                if weather.bytes_per_s:
                    await asyncio.sleep(len(data) / weather.bytes_per_s)
                await self._thawed.wait()
                writer.write(data)
                await writer.drain()


async def _run(routes: dict[int, int]) -> None:
    gates = {port: _Gate(target) for port, target in routes.items()}
    for port, gate in gates.items():
        await asyncio.start_server(gate.serve, HOST, port)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print("ready", flush=True)
    while line := await commands.readline():
        command = json.loads(line)
        gates[command["port"]].change(Weather(**command["weather"]))
        print("done", flush=True)


class Proxy:
    """The proxy's process, as the harness sees it."""

    def __init__(self, routes: dict[int, int], log: IO[bytes]) -> None:
        command = [sys.executable, "-m", "chaos.cluster.proxy", json.dumps(routes)]
        self._process = subprocess.Popen(
            command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        self._hear("ready")

    def change(self, port: int, weather: Weather) -> None:
        """Let other weather hold on a port, and return when it does."""
        commands = cast("IO[bytes]", self._process.stdin)
        commands.write(json.dumps({"port": port, "weather": asdict(weather)}).encode() + b"\n")
        commands.flush()
        self._hear("done")

    def _hear(self, expected: str) -> None:
        said = cast("IO[bytes]", self._process.stdout).readline().decode().strip()
        if said != expected:
            raise RuntimeError(f"the proxy said {said!r} instead of {expected!r}; its log says why")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            cast("IO[bytes]", pipe).close()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(_run({int(port): int(target) for port, target in given.items()}))
