"""Imports go one way only: between the rooms, and inside of a room between its folders, in the order written here.

The rooms: schemas ← topology ← databases ← producers ← consumers ← operations, and ← testing.
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
ROOMS = ("schemas", "topology", "databases", "producers", "consumers", "operations", "testing")
BESIDE = {"testing": ("operations",)}
"""{room: rooms before it that it has no use for}."""
FOLDERS = {
    "schemas": (
        *(
            "json_data",
            "wire_text",
            "errors",
            "codec",
            "own",
            "job_events",
            "jobs_ended",
            "control_records",
            "schedule_records",
            "share_records",
            "reservation_records",
            "audit_entries",
            "statistics_records",
            "shapes",
            "contracts",
            "stores",
            "decode",
        ),
        "files",
    ),
    "topology": (
        *("durations", "own_loggers", "origin", "wire", "ownership", "tracing"),
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
            "record",
            "client",
            "delivery",
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
            "machine",
            "standard_streams",
            "inbox",
            "settings",
            "contract_check",
            "fleet",
        ),
        *(
            "kafka",
            "records",
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
            "runners",
            "settling",
            "followers",
            "tracing",
            "carrying",
            "steps",
            "fairness",
        ),
        *("isolation", "dispatch", "polling", "intake", "group", "inspection", "control", "schedules"),
        *(
            "declared",
            "turns",
            "queue_controls",
            "queue_worker",
            "assembly",
            "metrics",
            "worker",
        ),
    ),
    "operations": (
        *(
            "instants",
            "cluster_view",
            "application",
            "contract_check",
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
            "commands",
            "index_commands",
            "top",
            "monitoring",
        ),
    ),
}
"""{room: its folders and loose modules}; each imports from those before it alone. Other rooms have no folders."""
MOST_MODULES = 17
MOST_TEST_MODULES = 20
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_itself_and_the_rooms_before_it(room: str) -> None:
    """Whoever changes a room needs to know the rooms before it, and none behind it."""
    behind = (*ROOMS[ROOMS.index(room) + 1 :], *BESIDE.get(room, ()))
    wrong = [f"{_at(each)} imports {each.to}" for path in _files(room) for each in _imports(path) if each.to in behind]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_reach_each_other_by_relative_imports(room: str) -> None:
    """A room under its absolute name could be another installation's."""
    imports = [each for path in _files(room) for each in _absolute_imports(path)]
    wrong = [f"{_at(each)} imports {each.to}" for each in imports if each.to.split(".")[0] in ("stoker", *ROOMS)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", FOLDERS)
def test_a_folder_imports_only_itself_and_the_folders_before_it(room: str) -> None:
    """The folders of a room are the floors of one house: whoever reads one needs none above it."""
    floors = FOLDERS[room]
    own = {path: floors.index(path.relative_to(ROOT / room).with_suffix("").parts[0]) for path in _inner_files(room)}
    imports = [each for path in own for each in _inside(path) if each.to in floors]
    wrong = [f"{_at(each)} imports {each.to} from above" for each in imports if floors.index(each.to) > own[each.path]]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_a_folder_can_be_read_as_a_table_of_contents(room: str) -> None:
    """No folder has more modules than a newcomer takes in at once, none lies deeper than two, and all are listed."""
    folders = [ROOT / room, *(path for path in (ROOT / room).rglob("*") if path.is_dir() and list(path.glob("*.py")))]
    modules = {folder: [path for path in folder.glob("*.py") if path.stem != "__init__"] for folder in folders}
    assert not {str(folder): len(found) for folder, found in modules.items() if len(found) > MOST_MODULES}
    assert not [folder for folder in folders if len(folder.relative_to(ROOT).parts) > 2]
    listed = FOLDERS.get(room, tuple(path.stem for path in modules[ROOT / room]))
    assert {*(folder.name for folder in folders[1:]), *(path.stem for path in modules[ROOT / room])} == set(listed)


def test_the_architecture_has_the_folders_in_this_order() -> None:
    """Its table of contents shows from which folders each may import: from those above it."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:\*\*)?`([a-z_/]+)/`(?:\*\*)? \|", text, re.MULTILINE)
    inside = {room: [name for name in FOLDERS.get(room, ()) if (ROOT / room / name).is_dir()] for room in ROOMS}
    assert rows == [row for room in ROOMS for row in (room, *(f"{room}/{name}" for name in inside[room]))]


def test_a_folder_of_tests_can_be_read_so_as_well() -> None:
    """Each has the tests of one folder or room, or one kind of support for them."""
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


def _files(room: str) -> list[Path]:
    return [path for path in FILES if path.is_relative_to(ROOT / room)]


def _inner_files(room: str) -> list[Path]:
    """All but the room's door, which imports from every floor."""
    return [path for path in _files(room) if path != ROOT / room / "__init__.py"]


def _inside(path: Path) -> Iterator[Import]:
    """Each relative import that stays in the room, to a folder or a loose module."""
    depth = len(path.relative_to(ROOT).parts)
    return (found for level, found in _relative_imports(path) if level == depth - 1)


def test_an_installation_has_all_folders() -> None:
    """What `pyproject.toml` does not list is missing where Stoker is installed from a wheel."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages = tomllib.load(file)["tool"]["setuptools"]["packages"]
    assert {f"stoker.{'.'.join(path.relative_to(ROOT).parts[:-1])}" for path in FILES} - set(packages) == set()


def _imports(path: Path) -> Iterator[Import]:
    """Each relative import that leaves the room, to another one."""
    depth = len(path.relative_to(ROOT).parts)  # from this many dots on, an import leaves the room
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
