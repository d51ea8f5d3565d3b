"""docker-compose.yml and the Dockerfile, as far as they can be checked without a container engine."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest
import yaml

from stoker.consumers.ending.stop_bound import POLL_THREAD_AFTER_GRACE_S, PROCESS_AFTER_GRACE_S
from stoker.consumers.fleet import KILLED_WITHIN_S
from stoker.consumers.followers import late_jobs
from stoker.consumers.metrics import systemd
from stoker.consumers.poll_loop.shutdown import EVENTS_AT_STOP_S, LEAVE_S, SETTLE_AT_STOP
from stoker.consumers.settings import WorkerSettings
from stoker.consumers.settling import settle
from stoker.consumers.settling.event_publisher import ANSWERS_S
from stoker.consumers.worker import LAST_WORDS_S
from stoker.operations.cli.process_end import LEFT_BEHIND_S

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
VERSION = re.compile(r":v?\d+\.\d+\.\d+(-[\w.]+)?$")


def test_the_stack_has_its_parts() -> None:
    """Kafka, a Schema Registry, the worker, what shows how it goes, and the steps that make what these need."""
    seeing = {"status", "monitoring", "prometheus", "grafana"}
    assert set(SERVICES) == {"kafka", "schema-registry", "topology", "worker", *seeing}


def test_every_image_is_pinned_by_a_full_version() -> None:
    """The same file gives the same stack next year."""
    fetched = {name: service["image"] for name, service in SERVICES.items() if service["image"] != "stoker:local"}
    assert fetched.keys() == {"kafka", "schema-registry", "prometheus", "grafana"}
    assert all(VERSION.search(image) for image in fetched.values()), fetched
    base = re.search(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert base is not None
    assert VERSION.search(base[1]), base[1]


@pytest.mark.parametrize("name", ["topology", "worker", "status"])
def test_a_service_waits_until_what_it_needs_is_ready(name: str) -> None:
    """A condition `service_healthy` only holds where the other service has a health check."""
    for needed, how in SERVICES[name]["depends_on"].items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed]
        else:
            assert (needed, how["condition"]) == ("topology", "service_completed_successfully")


def test_only_this_machine_reaches_the_stack() -> None:
    """Neither Kafka nor the registry asks for a password here, so neither listens to the network."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_listeners_agree_with_what_is_advertised_and_published() -> None:
    """Clients inside and outside are each told an address that leads back to the broker."""
    kafka = SERVICES["kafka"]
    advertised = dict(entry.split("://") for entry in kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listening = dict(entry.split("://") for entry in kafka["environment"]["KAFKA_LISTENERS"].split(","))
    inside, outside = advertised["INSIDE"], advertised["OUTSIDE"]
    assert SERVICES["worker"]["environment"]["STOKER_BOOTSTRAP_SERVERS"] == inside
    assert kafka["ports"] == [f"127.0.0.1:{outside.split(':')[1]}:{listening['OUTSIDE'].split(':')[1]}"]
    assert inside.split(":")[1] == listening["INSIDE"].split(":")[1]


STAGES = re.split(r"^FROM .*\n", DOCKERFILE, flags=re.M)[1:]
LET_IN = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]


def copied(stage: str) -> list[str]:
    """What a stage copies from the build context."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", stage, re.M)
    return [name for line in lines for name in line.split()]


def test_the_image_copies_what_the_context_lets_in() -> None:
    """.dockerignore lets in what is copied, which exists, and nothing else."""
    assert sorted(name for stage in STAGES for name in copied(stage)) == sorted(LET_IN)
    assert [name for name in LET_IN if not (ROOT / name).exists()] == []


def test_nothing_is_built_in_the_image_itself() -> None:
    """The last stage takes the finished environment, so that no build folder is left beside the application."""
    assert copied(STAGES[-1]) == ["examples"]
    assert "pip" not in STAGES[-1]
    assert re.search(r"^COPY --from=build (\S+) \1$", STAGES[-1], re.M)


def test_the_worker_has_few_rights_and_an_init_above_it() -> None:
    """Process 1 passes signals on and collects orphans, and nothing runs as root."""
    users = re.findall(r"^USER (\S+)", STAGES[-1], re.M)
    assert users
    assert users[-1] not in ("root", "0")
    assert re.search(r'^ENTRYPOINT \["tini", "--", "stoker"\]', STAGES[-1], re.M)
    assert re.search(r"apt-get install .*\btini\b", STAGES[-1])


def test_what_stops_a_worker_waits_for_its_end() -> None:
    """A worker is killed only when its graces are over, and the longest time that its end may take after that.

    A fleet is killed only when it has killed what hangs, and has ended.
    """
    settled_s = SETTLE_AT_STOP.total_seconds() + settle.END_WITHIN_S + ANSWERS_S + late_jobs.AT_STOP_S
    ended_s = 2 * LAST_WORDS_S + systemd.END_WITHIN_S + LEFT_BEHIND_S
    left_s = settled_s + LEAVE_S + EVENTS_AT_STOP_S
    after_grace_s = ceil(left_s + ended_s)
    assert left_s + 5 < POLL_THREAD_AFTER_GRACE_S < POLL_THREAD_AFTER_GRACE_S + 2 * LAST_WORDS_S < after_grace_s
    assert after_grace_s + 5 == PROCESS_AFTER_GRACE_S
    seconds = re.fullmatch(r"(\d+)s", SERVICES["worker"]["stop_grace_period"])
    assert seconds is not None
    graces_s = (WorkerSettings().grace + WorkerSettings().revoke_grace).total_seconds()
    assert int(seconds[1]) == graces_s + after_grace_s
    fleet_s = PROCESS_AFTER_GRACE_S + KILLED_WITHIN_S + 5
    text = (ROOT / "docs" / "operations.md").read_text()
    assert re.findall(r"^TimeoutStopSec=(\d+)s$", text, re.M) == [f"{graces_s + fleet_s:g}"]
    both = [f"{each_s:g}" for each_s in (fleet_s, after_grace_s, fleet_s, fleet_s)]
    assert re.findall(r"both graces and (\d+) s", text) == both
    assert re.findall(r"`--grace`, `--revoke-grace` and (\d+) s before it kills", text) == [f"{after_grace_s:g}"]


def test_what_builds_the_package_is_pinned_and_needs_no_more_than_the_context(tmp_path: Path) -> None:
    """The wheel is made of what is copied into the first stage, by one exact version of setuptools."""
    assert re.search(r'^requires = \["setuptools==[\d.]+"\]', (ROOT / "pyproject.toml").read_text(), re.M)
    for name in copied(STAGES[0]):
        source = ROOT / name
        if source.is_dir():
            copytree(source, tmp_path / "src" / name, ignore=ignore_patterns("__pycache__"))
        else:
            (tmp_path / "src").mkdir(exist_ok=True)
            (tmp_path / "src" / name).write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(tmp_path / "src")]
    subprocess.run(command, check=True, capture_output=True, timeout=110)
    (wheel,) = tmp_path.glob("stoker-*.whl")
    layers = {name.split("/")[1] for name in zipfile.ZipFile(wheel).namelist() if name.startswith("stoker/")}
    assert layers == {"schemas", "topology", "databases", "producers", "consumers", "operations", "testing"}


class _Answers(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Give the server's status, and an empty list."""
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(b"[]")


@pytest.fixture
def registry() -> Iterator[ThreadingHTTPServer]:
    """Something that answers as a registry's port does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (500, False)])
def test_the_registrys_health_check_needs_bash_alone(
    registry: ThreadingHTTPServer, status: int, is_healthy: bool
) -> None:
    """A foreign image promises no curl; what it answers decides."""
    registry.status = status  # type: ignore[attr-defined]
    kind, *command = SERVICES["schema-registry"]["healthcheck"]["test"]
    assert (kind, command[0]) == ("CMD", "bash")
    here = [part.replace("$$", "$").replace("localhost/8081", f"127.0.0.1/{registry.server_port}") for part in command]
    done = subprocess.run(here, capture_output=True, timeout=30, check=False, env={"PATH": ""}, executable="/bin/bash")
    assert (done.returncode == 0) is is_healthy, done.stderr
