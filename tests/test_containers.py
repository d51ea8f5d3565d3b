"""docker-compose.yml and the Dockerfile, as far as they can be checked without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
VERSION = re.compile(r":v?\d+\.\d+\.\d+(-[\w.]+)?$")


def test_the_stack_has_its_parts() -> None:
    """Kafka, a Schema Registry, the worker, and the step that makes the worker's topics."""
    assert set(SERVICES) == {"kafka", "schema-registry", "topology", "worker"}


def test_every_image_is_pinned_by_a_full_version() -> None:
    """The same file gives the same stack next year."""
    fetched = {name: service["image"] for name, service in SERVICES.items() if service["image"] != "stoker:local"}
    assert fetched.keys() == {"kafka", "schema-registry"}
    assert all(VERSION.search(image) for image in fetched.values()), fetched
    base = re.search(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert base is not None
    assert VERSION.search(base[1]), base[1]


@pytest.mark.parametrize("name", ["topology", "worker"])
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


def test_the_image_copies_what_exists_and_does_not_run_as_root() -> None:
    """What .dockerignore lets in is there, and the worker has no more rights than it needs."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [name for name in kept if not (ROOT / name).exists()] == []
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.M)
    assert users
    assert users[-1] not in ("root", "0")
    assert re.search(r'^ENTRYPOINT \["stoker"\]', DOCKERFILE, re.M)
