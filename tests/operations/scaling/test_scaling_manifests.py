"""The manifests for Kubernetes name only metrics that there are, and call the command with options that it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker.operations.commands.scale import scale
from stoker.producers.metrics.all_metrics import PIPELINE, WORKERS_WANTED

pytestmark = pytest.mark.timeout(60)

FOLDER = Path(__file__).parents[3] / "examples" / "kubernetes"
MANIFESTS: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.yaml")
}


def test_keda_asks_for_the_metric_of_one_queue() -> None:
    """A threshold of 1 makes as many replicas as workers are wanted; without the metric they stay."""
    spec = MANIFESTS["keda-scaled-object"]["spec"]
    [trigger] = spec["triggers"]
    query = trigger["metadata"]["query"]
    assert re.findall(r"stoker_\w+", query) == [WORKERS_WANTED.name]
    assert re.findall(r"(\w+)=", query) == [PIPELINE, *WORKERS_WANTED.labels]
    assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "1")
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert 0 < spec["minReplicaCount"] <= spec["maxReplicaCount"]


def test_the_autoscaler_asks_for_the_metric_of_one_queue() -> None:
    """It has the same target as KEDA makes of it."""
    [metric] = MANIFESTS["horizontal-pod-autoscaler"]["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == WORKERS_WANTED.name
    assert tuple(metric["external"]["metric"]["selector"]["matchLabels"]) == (PIPELINE, *WORKERS_WANTED.labels)
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}


def test_the_deployment_calls_the_command_as_it_is() -> None:
    """Its options exist, and its port is that of the probes and of Prometheus."""
    template = MANIFESTS["scaling"]["spec"]["template"]
    [container] = template["spec"]["containers"]
    options = {name for param in scale.params for name in param.opts}
    words = container["args"]
    assert words[:4] == ["stoker", "-A", "shop:pipeline", "scale"]
    assert {word for word in words[4:] if word.startswith("--")} <= options
    port = int(words[words.index("--metrics-port") + 1])
    probes = {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")}
    assert probes == {port, container["ports"][0]["containerPort"]}
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port)
