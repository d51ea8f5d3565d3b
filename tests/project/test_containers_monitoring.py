"""What docker-compose.yml has for Prometheus and Grafana, as far as it can be checked without a container engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from support.kafka.brokers import cannot_have

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONFIGS = {name: yaml.safe_load(config["content"]) for name, config in COMPOSE["configs"].items()}
FOLDER = "/monitoring"


def test_the_step_prints_rules_and_dashboards_where_both_read_them(tmp_path: Path) -> None:
    """Its script is run here, with another folder; Prometheus and Grafana look for files of these names."""
    (script,) = SERVICES["monitoring"]["command"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "STOKER_APP": "examples.flights:pipeline"}
    here = script.replace("$$", "$").replace(f"{FOLDER}/", f"{tmp_path}/")
    subprocess.run(["sh", "-euc", here], check=True, cwd=ROOT, env=environment)
    (rules,) = CONFIGS["prometheus"]["rule_files"]
    found = list(tmp_path.glob(Path(rules).name))
    assert [file.name for file in found] == ["stoker.rules.yml"]
    assert "StokerNoWorker" in found[0].read_text(encoding="utf-8")
    uids = {json.loads(file.read_text(encoding="utf-8"))["uid"] for file in tmp_path.glob("*.json")}
    assert uids == {"stoker-fleet", "stoker-queue", "stoker-failures", "stoker-services"}
    assert CONFIGS["grafana-dashboards"]["providers"][0]["options"]["path"] == FOLDER == str(Path(rules).parent)
    for name in ("prometheus", "grafana"):
        assert f"monitoring:{FOLDER}:ro" in SERVICES[name]["volumes"]
        assert SERVICES[name]["depends_on"]["monitoring"]["condition"] == "service_completed_successfully"


def test_compose_takes_the_file() -> None:
    """Each key and value is one that the specification of compose files has; engines refuse others."""
    compose_spec.PyCompose.from_json(json.dumps(COMPOSE)).validate()
    misspelt = json.dumps(COMPOSE).replace('"depends_on"', '"depend_on"')
    with pytest.raises(ValueError, match="depend_on"):
        compose_spec.PyCompose.from_json(misspelt)


def test_prometheus_reads_what_worker_and_index_show() -> None:
    """Ports and services are theirs, and Grafana asks this Prometheus."""
    (job,) = CONFIGS["prometheus"]["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["names"] == ["worker", "status"]
    for name in found["names"]:
        command = SERVICES[name]["command"]
        assert command[command.index("--metrics-port") + 1] == str(found["port"])
    (source,) = CONFIGS["grafana-datasource"]["datasources"]
    assert source["url"] == "http://prometheus:9090"
    mounted = {config["source"] for service in SERVICES.values() for config in service.get("configs", [])}
    assert mounted == set(CONFIGS)


def test_promtool_takes_the_settings_of_prometheus(tmp_path: Path) -> None:
    """A misspelt setting would keep it from starting."""
    promtool = shutil.which("promtool")
    if promtool is None:
        cannot_have("promtool: install Debian's package prometheus")
        return
    path = tmp_path / "prometheus.yml"
    path.write_text(COMPOSE["configs"]["prometheus"]["content"], encoding="utf-8")
    done = subprocess.run([promtool, "check", "config", str(path)], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_written_belongs_to_the_images_user() -> None:
    """A new volume has the owner of the folder that the image has there."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (line,) = [line for line in dockerfile.splitlines() if "install --directory --owner stoker" in line]
    mounts = [mount.split(":")[1] for name in ("monitoring", "status") for mount in SERVICES[name]["volumes"]]
    assert set(mounts) <= set(line.split())
