"""Functions stay small enough to be read at once: their branches, their nesting, and their parameters."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
LAYERS: Final = (
    "schemas",
    "topology",
    "databases",
    "producers",
    "consumers",
    "operations",
    "testing",
    "examples",
    "bench",
)
MOST_PATHS: Final = 10
DEEPEST: Final = 3
MOST_ANYS: Final = 5
"""In 1,000 lines."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
_BRANCHES: Final = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension, ast.match_case),
)
_BLOCKS: Final = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


@pytest.mark.parametrize("layer", LAYERS)
def test_no_function_has_too_many_paths_or_blocks_in_blocks(layer: str) -> None:
    """At most ten paths through a function, conditions joined by `and` and `or` counted, and three blocks deep."""
    assert _beyond(layer) == set()


def test_any_stays_rare() -> None:
    """A type checker sees nothing behind `Any`."""
    texts = [path.read_text(encoding="utf-8") for layer in LAYERS for path in (ROOT / layer).rglob("*.py")]
    found = sum(isinstance(node, ast.Name) and node.id == "Any" for text in texts for node in ast.walk(ast.parse(text)))
    assert found * 1_000 <= MOST_ANYS * sum(text.count("\n") for text in texts)


def _beyond(layer: str) -> set[str]:
    return {
        place for place, function in _functions(layer) if _paths(function) > MOST_PATHS or _depth(function) > DEEPEST
    }


def _functions(layer: str) -> Iterator[tuple[str, Function]]:
    for path in sorted((ROOT / layer).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Function):
                yield f"{path.relative_to(ROOT).as_posix()}:{node.name}", node


def _own(function: Function) -> Iterator[ast.AST]:
    """Walk a function without the functions and classes inside of it."""
    pending = list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (Function, ast.ClassDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))


def _paths(function: Function) -> int:
    nodes = list(_own(function))
    joined = sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    return 1 + joined + sum(isinstance(node, _BRANCHES) for node in nodes)


def _depth(node: ast.AST, depth: int = 0) -> int:
    """The deepest block; an `elif` lies as deep as its `if`."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (Function, ast.ClassDef)):
            continue
        is_elif = isinstance(node, ast.If) and node.orelse == [child] and isinstance(child, ast.If)
        deepest = max(deepest, _depth(child, depth + (isinstance(child, _BLOCKS) and not is_elif)))
    return deepest


@pytest.mark.parametrize("layer", LAYERS)
def test_an_instant_in_seconds_has_at_in_its_name(layer: str) -> None:
    """`until_s` could be a length of time, and one would be added to the other; `now_s` can be nothing else."""
    assert set(_misnamed_instants(layer)) == set()


def _misnamed_instants(layer: str) -> Iterator[str]:
    for path in sorted((ROOT / layer).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and _is_instant(node.value):
                names = [ast.unparse(target).rpartition(".")[2] for target in node.targets]
                yield from (
                    f"{path.relative_to(ROOT).as_posix()}:{node.lineno}: {name}"
                    for name in names
                    if name.endswith("_s") and not name.endswith("_at_s") and name.lstrip("_") != "now_s"
                )


def _is_instant(value: ast.expr) -> bool:
    """Whether it is what a clock shows, or that and something."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return _is_instant(value.left) or _is_instant(value.right)
    return ast.unparse(value) in ("time.monotonic()", "time.time()", "now_s")
