"""The tool that judges rules."""

from __future__ import annotations

import shutil

import pytest

from support.kafka.brokers import cannot_have


@pytest.fixture(scope="module")
def promtool() -> str:
    """The path of Prometheus' tool."""
    found = shutil.which("promtool")
    if found is None:
        cannot_have("promtool: install Debian's package prometheus")
    assert found is not None
    return found
