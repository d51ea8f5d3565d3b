"""What a test reads over HTTP of a process that shows its metrics."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from stoker.producers.metrics.all_metrics import METRICS, PIPELINE, Metric

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Scrape:
    """One reading of `/metrics`."""

    page: str

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the samples of this name that have these labels; None where there is none."""
        found = [sample.value for sample in self._samples(name) if labels.items() <= sample.labels.items()]
        return sum(found) if found else None

    def label_values(self, name: str, label: str) -> set[str]:
        """The values of one label that have a sample."""
        return {sample.labels[label] for sample in self._samples(name)}

    def families(self) -> dict[str, str]:
        """{name, as the catalogue has it: type}."""
        found = text_string_to_metric_families(self.page)
        return {family.name + ("_total" if family.type == "counter" else ""): family.type for family in found}

    def unlisted(self) -> list[str]:
        """The series whose name or labels the catalogue does not have, which must be none."""
        listed = {name: labels for metric in METRICS for name, labels in _series_of(metric)}
        found = (sample for family in text_string_to_metric_families(self.page) for sample in family.samples)
        return [f"{one.name}{one.labels}" for one in found if listed.get(one.name) != set(one.labels)]

    def _samples(self, name: str) -> list[Any]:
        families = text_string_to_metric_families(self.page)
        return [sample for family in families for sample in family.samples if sample.name == name]


def _series_of(metric: Metric) -> list[tuple[str, set[str]]]:
    labels = {PIPELINE, *metric.labels}
    if metric.kind != "histogram":
        return [(metric.name, labels)]
    return [
        (f"{metric.name}_bucket", labels | {"le"}),
        (f"{metric.name}_count", labels),
        (f"{metric.name}_sum", labels),
    ]


def scrape(port: int) -> Scrape:
    """Read the metrics of a process of this machine."""
    return Scrape(get(port, "/metrics")[1])


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def health(port: int, path: str) -> tuple[int, Mapping[str, Any]]:
    """Status and body of `/live` or `/ready`."""
    status, body = get(port, path)
    return status, json.loads(body)


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody has; a test beside this one finds others."""
    starts = list(range(29_000, 32_000, count))
    random.shuffle(starts)
    for first in starts:
        if all(map(_is_free, range(first, first + count))):
            return first
    raise AssertionError("no ports are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
