"""Log records carry fields that are listed once (`consumers/log_keys.py`), and the job's id where they are about a job.

The calls are found in the source, so that a record which no test brings about is held to it as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeGuard

import pytest

from stoker.consumers import log_keys
from stoker.operations.views.logging_json import ERROR, LEVEL, LOGGER, MESSAGE, STACK, TIMESTAMP

ROOT = Path(__file__).parents[2]
LAYERS = ("schemas", "topology", "databases", "producers", "consumers", "operations")
METHODS = frozenset({"debug", "info", "warning", "error", "critical", "exception"})
LOGGERS = frozenset({"_logger", "logger", "_log"})
NAMES = {name: value for name, value in vars(log_keys).items() if name.isupper()}
FIELDS_OF_A_JOB = "job_fields"
"""The function that gives the fields of a record about a job."""
ABOUT_A_JOB = ("job %s", "job failed", "job is ", "the job ")


@dataclass(frozen=True, eq=False)
class LogCall:
    """One call that logs, with the function around it."""

    path: Path
    node: ast.Call
    around: ast.AST
    tree: ast.Module

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.node.lineno}"

    @property
    def message(self) -> str:
        """Its format string, as far as it is written there."""
        parts = [node.value for node in ast.walk(self.node.args[0]) if isinstance(node, ast.Constant)]
        return "".join(str(part) for part in parts)

    @property
    def extra(self) -> ast.expr | None:
        """What its record carries."""
        return next((word.value for word in self.node.keywords if word.arg == "extra"), None)


@cache  # here, since every process of a run would read all layers if the module did
def log_calls() -> list[LogCall]:
    """All of the layers."""
    return [call for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py")) for call in calls_of(path)]


def calls_of(path: Path) -> Iterator[LogCall]:
    """Those of one module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for around in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]:
        for node in ast.walk(around):
            if _is_log_call(node):
                yield LogCall(path, node, around, tree)


def _is_log_call(node: ast.AST) -> TypeGuard[ast.Call]:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)):
            return attr in METHODS and name.lower() in LOGGERS
        case _:
            return False


def keys_of(expr: ast.expr, call: LogCall) -> Iterator[str]:
    """The names of the fields that an expression gives, as written: `log_keys.X`, or a text in quotes."""
    match expr:
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                yield from keys_of(value, call) if key is None else [ast.unparse(key)]
        case ast.IfExp(body=body, orelse=orelse):
            yield from keys_of(body, call)
            yield from keys_of(orelse, call)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield from keys_of(left, call)
            yield from keys_of(right, call)
        case ast.Call(func=ast.Name(id=name)) if name == FIELDS_OF_A_JOB:
            yield from ("log_keys.JOB_ID", "log_keys.QUEUE")
        case ast.Call(func=ast.Attribute(attr=name)):
            yield from _returned_by(name, call)
        case ast.Name(id=name):
            yield from _assigned_to(name, call)
        case ast.Attribute(value=ast.Name(id="self"), attr=name):  # a property
            yield from _returned_by(name, call)
        case _:
            pytest.fail(f"{call}: the fields are given as `{ast.unparse(expr)}`, which this test cannot follow")


def _assigned_to(name: str, call: LogCall) -> Iterator[str]:
    for node in ast.walk(call.around):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=found)], value=value)
                | ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value)
                | ast.AugAssign(target=ast.Name(id=found), value=value)
            ) if found == name:
                yield from keys_of(value, call)


def _returned_by(name: str, call: LogCall) -> Iterator[str]:
    for found in ast.walk(call.tree):
        if isinstance(found, ast.FunctionDef) and found.name == name:
            for node in ast.walk(found):
                if isinstance(node, ast.Return) and node.value is not None:
                    yield from keys_of(node.value, call)


def test_each_field_is_listed_once() -> None:
    """Two names of one field would be found by neither, and a line's own fields would be renamed in the JSON log."""
    assert len(set(NAMES.values())) == len(NAMES)
    assert not set(NAMES.values()) & {TIMESTAMP, LEVEL, LOGGER, MESSAGE, ERROR, STACK}


def test_fields_of_log_records_are_listed() -> None:
    """What is not listed is found by nobody who searches the logs."""
    listed = {f"log_keys.{name}" for name in NAMES} | {repr(value) for value in NAMES.values()}
    keys = {call: set(keys_of(call.extra, call)) for call in log_calls() if call.extra is not None}
    assert [f"{call} has no field" for call, found in keys.items() if not found] == []
    assert [f"{call}: {found - listed}" for call, found in keys.items() if not found <= listed] == []


def test_records_about_a_job_carry_its_id() -> None:
    """A record is about a job where its text names one, or where a job's record or context is among its values."""
    about = [call for call in log_calls() if "consumers" in call.path.parts and _is_about_a_job(call)]
    assert [f"{call} carries nothing" for call in about if call.extra is None] == []
    carried = {call: set(keys_of(call.extra, call)) for call in about if call.extra is not None}
    assert [f"{call} carries {found}" for call, found in carried.items() if "log_keys.JOB_ID" not in found] == []


def test_records_with_the_id_of_a_job_name_it_in_their_text() -> None:
    """Who has Python's own `logging` print the log sees no fields."""
    about = [call for call in log_calls() if call.extra is not None and "log_keys.JOB_ID" in keys_of(call.extra, call)]
    assert len(about) > 10
    assert [str(call) for call in about if not _names_a_job(call)] == []


def _names_a_job(call: LogCall) -> bool:
    """Whether its format string does, or what fills it, or for one that is passed in, another string of its module."""
    if "job %s" in call.message:
        return True
    if not call.message:
        return any("job %s" in text for text in _texts_in(call.tree))
    return "%s" in call.message and any(text.endswith("job ") for text in _texts_in(call.around))


def _texts_in(tree: ast.AST) -> list[str]:
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_records_that_name_a_queue_carry_it() -> None:
    """Who searches for all that was logged of one queue finds those whose text has its name."""
    about = [call for call in log_calls() if "queue %r" in call.message]
    keys = {call: set() if call.extra is None else set(keys_of(call.extra, call)) for call in about}
    assert [f"{call}" for call, found in keys.items() if not found & {"log_keys.QUEUE", repr(log_keys.QUEUE)}] == []


def _is_about_a_job(call: LogCall) -> bool:
    values = {node.id for arg in call.node.args[1:] for node in ast.walk(arg) if isinstance(node, ast.Name)}
    return any(word in call.message for word in ABOUT_A_JOB) or bool(values & {"record", "context", "job_id"})


def test_the_test_finds_what_is_logged() -> None:
    """Else it would hold for nothing."""
    assert len(log_calls()) > 30
    assert sum(any(word in call.message for word in ABOUT_A_JOB) for call in log_calls()) >= 5
