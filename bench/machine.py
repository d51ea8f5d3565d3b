"""What the figures were taken on, in one line."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import confluent_kafka
import psutil


def machine_line(kafka: str) -> str:
    """The machine and the versions of everything that the figures depend on."""
    memory_gb = psutil.virtual_memory().total / 1e9
    load = os.getloadavg()[0]
    return (
        f"{_cpu_model()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, load {load:.1f} at the start; "
        f"{platform.system()} {platform.release()}; "
        f"{platform.python_implementation()} {platform.python_version()}; {kafka}; "
        f"confluent-kafka {confluent_kafka.__version__}, librdkafka {confluent_kafka.libversion()[0]}; "
        f"Stoker {version('stoker')}"
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # not Linux
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
