"""A public class has a name of its own, so that whoever reads the name knows which is meant."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LAYERS: Final = ("schemas", "topology", "databases", "producers", "consumers", "operations", "testing")
SHARED: Final = {
    "NotAuthorized": "a producer's own error, for its callers: it has the record as well",
    "PayloadRefused": "the same: a contract refuses the payload, the producer the call",
    "RegistryUnreachable": "the same: a store cannot ask, and the producer enqueues nothing",
}
"""{name: why several classes may have it}."""


def test_no_two_public_classes_share_a_name() -> None:
    """A `Role` of a topic and a `Role` of a record would have to be told apart by their imports."""
    places: dict[str, list[str]] = defaultdict(list)
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            for name in public_classes(path):
                places[name].append(str(path.relative_to(ROOT)))
    shared = {name: found for name, found in places.items() if len(found) > 1 and name not in SHARED}
    assert not shared, f"give them names that say which is meant: {shared}"


def public_classes(path: Path) -> Iterator[str]:
    """The names of a module's classes, and of its closed sets of words."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name):
                found = name
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript(value=ast.Name(id="Literal"))):
                found = name
            case _:
                continue
        if not found.startswith("_"):
            yield found
