"""Imports go one way only: between the layers, and inside of a layer between its folders, in the order written here.

The layers: schemas ← topology ← databases ← producers ← consumers ← operations, and ← testing.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("schemas", "topology", "databases", "producers", "consumers", "operations", "testing")
BESIDE = {"testing": ("operations",)}
"""{layer: layers before it that it has no use for}."""
FOLDERS = {
    "schemas": (
        *(
            "json_data",
            "wire_text",
            "errors",
            "codec",
            "own_records",
            "shapes",
            "contracts",
            "stores",
            "decode",
        ),
        "files",
    ),
    "topology": (
        *("durations", "counts", "log_pace", "bounded_log", "own_loggers", "actor", "wire", "ownership", "tracing"),
        *("declaration", "cluster", "planning"),
    ),
    "databases": (
        *("errors", "sql", "driver", "url", "inbox_table", "outbox", "psycopg_driver", "asyncpg_driver"),
        *("sqlalchemy_driver", "sqlite_driver", "django_driver", "detection", "apps", "migrations"),
    ),
    "producers": (
        *(
            "settings",
            "errors",
            "trace",
            "call_options",
            "client",
            "delivery",
            "record",
            "transaction_writer",
            "instrument",
            "instrument_row",
            "metrics",
            "tracing",
        ),
        *(
            "connection",
            "readiness",
            "admission",
            "outbox",
            "publisher",
            "bulk",
            "spooling",
            "producer",
            "async_producer",
            "control",
            "schedules",
        ),
    ),
    "consumers": (
        *(
            "errors",
            "log_keys",
            "guarded_thread",
            "ending",
            "turn_thread",
            "log_turns",
            "poll_thread_state",
            "machine",
            "standard_streams",
            "inbox",
            "settings",
            "contract_check",
            "fleet",
        ),
        *(
            "sources",
            "progress",
            "records",
            "kafka",
            "standing_orders",
            "unique",
            "backlog",
            "ordering",
            "priorities",
            "gates",
            "meters",
            "shares",
            "reservations",
            "limits",
            "breakers",
            "job",
            "instruments",
            "partitions",
            "commits",
            "runners",
            "settling",
            "followers",
            "tracing",
            "carrying",
            "delays",
            "steps",
            "fairness",
        ),
        *("isolation", "dispatch", "in_flight", "rebalance", "intake", "group", "inspection", "control", "schedules"),
        *(
            "declared",
            "poll_loop",
            "queue_controls",
            "queue_worker",
            "poll_threads",
            "assembly",
            "metrics",
            "worker_signals",
            "worker",
        ),
    ),
    "operations": (
        *(
            "instants",
            "cluster_view",
            "application",
            "schema_checks",
            "inbox",
            "outbox",
            "payload_input",
            "broker",
            "views",
        ),
        *(
            "stored_jobs",
            "replay",
            "statistics",
            "queue_status",
            "job_index",
            "catalogue",
            "doctor",
            "cli",
            "control",
            "schedules",
            "audit_log",
            "scaling",
            "top",
            "monitoring",
            "control_commands",
            "index_commands",
            "commands",
        ),
    ),
}
"""{layer: its folders and loose modules}; each imports from those before it alone. Other layers have no folders."""
MOST_MODULES = 17
MOST_TEST_MODULES = 20
FILES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_itself_and_the_layers_before_it(layer: str) -> None:
    """Whoever changes a layer needs to know the layers before it, and none behind it."""
    behind = (*LAYERS[LAYERS.index(layer) + 1 :], *BESIDE.get(layer, ()))
    wrong = [f"{_at(each)} imports {each.to}" for path in _files(layer) for each in _imports(path) if each.to in behind]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_reach_each_other_by_relative_imports(layer: str) -> None:
    """A layer under its absolute name could be another installation's."""
    imports = [each for path in _files(layer) for each in _absolute_imports(path)]
    wrong = [f"{_at(each)} imports {each.to}" for each in imports if each.to.split(".")[0] in ("stoker", *LAYERS)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("layer", FOLDERS)
def test_a_folder_imports_only_itself_and_the_folders_before_it(layer: str) -> None:
    """A folder stands on those before it: whoever reads one needs none above it."""
    folders = FOLDERS[layer]
    own = {path: folders.index(path.relative_to(ROOT / layer).with_suffix("").parts[0]) for path in _inner_files(layer)}
    imports = [each for path in own for each in _inside(path) if each.to in folders]
    wrong = [f"{_at(each)} imports {each.to} from above" for each in imports if folders.index(each.to) > own[each.path]]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_folder_can_be_read_as_a_table_of_contents(layer: str) -> None:
    """No folder has more modules than a newcomer takes in at once, none lies deeper than two, and all are listed."""
    folders = [ROOT / layer, *(path for path in (ROOT / layer).rglob("*") if path.is_dir() and list(path.glob("*.py")))]
    modules = {folder: [path for path in folder.glob("*.py") if path.stem != "__init__"] for folder in folders}
    assert not {str(folder): len(found) for folder, found in modules.items() if len(found) > MOST_MODULES}
    assert not [folder for folder in folders if len(folder.relative_to(ROOT).parts) > 2]
    listed = FOLDERS.get(layer, tuple(path.stem for path in modules[ROOT / layer]))
    assert {*(folder.name for folder in folders[1:]), *(path.stem for path in modules[ROOT / layer])} == set(listed)


def test_the_architecture_has_the_folders_in_this_order() -> None:
    """Its table of contents shows from which folders each may import: from those above it."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:\*\*)?`([a-z_/]+)/`(?:\*\*)? \|", text, re.MULTILINE)
    inside = {layer: [name for name in FOLDERS.get(layer, ()) if (ROOT / layer / name).is_dir()] for layer in LAYERS}
    assert rows == [row for layer in LAYERS for row in (layer, *(f"{layer}/{name}" for name in inside[layer]))]


def test_a_folder_of_tests_can_be_read_so_as_well() -> None:
    """Each has the tests of one folder or layer, or one kind of support for them."""
    modules = Counter(path.parent for path in (ROOT / "tests").rglob("*.py") if path.stem != "__init__")
    assert not {str(folder): count for folder, count in modules.items() if count > MOST_TEST_MODULES}


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a line of a module imports."""

    path: Path
    line: int
    to: str


def _at(found: Import) -> str:
    return f"{found.path.relative_to(ROOT)}:{found.line}"


def _files(layer: str) -> list[Path]:
    return [path for path in FILES if path.is_relative_to(ROOT / layer)]


def _inner_files(layer: str) -> list[Path]:
    """All but the layer's own `__init__.py`, which imports from every folder."""
    return [path for path in _files(layer) if path != ROOT / layer / "__init__.py"]


def _inside(path: Path) -> Iterator[Import]:
    """Each relative import that stays in the layer, to a folder or a loose module."""
    depth = len(path.relative_to(ROOT).parts)
    return (found for level, found in _relative_imports(path) if level == depth - 1)


def test_an_installation_has_all_folders() -> None:
    """What `pyproject.toml` does not list is missing where Stoker is installed from a wheel."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages = tomllib.load(file)["tool"]["setuptools"]["packages"]
    assert {f"stoker.{'.'.join(path.relative_to(ROOT).parts[:-1])}" for path in FILES} - set(packages) == set()


def _imports(path: Path) -> Iterator[Import]:
    """Each relative import that leaves the layer, to another one."""
    depth = len(path.relative_to(ROOT).parts)  # from this many dots on, an import leaves the layer
    return (found for level, found in _relative_imports(path) if level >= depth)


def _relative_imports(path: Path) -> Iterator[tuple[int, Import]]:
    """Each with its dots, to the first of the names behind them."""
    for node in _import_nodes(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.level, Import(path, node.lineno, name.split(".")[0])) for name in names)


def _absolute_imports(path: Path) -> Iterator[Import]:
    for node in _import_nodes(path):
        if isinstance(node, ast.Import):
            yield from (Import(path, node.lineno, alias.name) for alias in node.names)
        elif node.level == 0 and node.module:
            yield Import(path, node.lineno, node.module)


@cache  # three tests look at each file
def _import_nodes(path: Path) -> list[ast.Import | ast.ImportFrom]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
