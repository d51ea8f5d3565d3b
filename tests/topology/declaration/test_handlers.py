"""What may be a job's handler, what is refused at its declaration, and which parameters it has."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from stoker.schemas import ContractRefused
from stoker.topology import InvalidDeclaration, JobType, Pipeline


def declared(handler: Any, **options: Any) -> JobType[..., Any]:
    """Declare a handler as a job type."""
    pipeline = Pipeline("shop")
    return pipeline.job(pipeline.queue("mails"), **options)(handler)


def send(order_id: int, address: str = "a", *, sender: object = None) -> tuple[int, str, object]:
    """Send a mail."""
    return order_id, address, sender


async def send_async(order_id: int, address: str) -> str:
    """Send a mail, as a coroutine."""
    await asyncio.sleep(0)
    return f"{order_id} {address}"


class Sender:
    """Sends."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, order_id: int) -> str:
        """Send one."""
        return f"{self.name} {order_id}"

    def method(self, order_id: int) -> str:
        """Send by a method."""
        return f"{self.name} {order_id}"

    @classmethod
    def make(cls, order_id: int) -> Sender:
        """Make one."""
        return cls(str(order_id))

    @staticmethod
    def static(order_id: int) -> int:
        """Send by a static method."""
        return order_id


class AsyncSender:
    """Sends as a coroutine."""

    async def __call__(self, order_id: int) -> int:
        """Send one."""
        return order_id


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


HANDLERS: list[tuple[Any, tuple[str, ...], dict[str, Any], Any]] = [
    (functools.partial(send, sender="s"), ("order_id", "address"), {"order_id": 1}, (1, "a", "s")),
    (functools.partial(send, 7, sender="s"), ("address",), {"address": "b"}, (7, "b", "s")),
    (functools.partial(functools.partial(send, 7), sender=2), ("address",), {}, (7, "a", 2)),
    (functools.partial(Sender("x"), 5), (), {}, "x 5"),
    (counted(functools.partial(send, sender=1)), ("order_id", "address"), {"order_id": 1}, (1, "a", 1)),
    (Sender("x"), ("order_id",), {"order_id": 1}, "x 1"),
    (Sender("x").method, ("order_id",), {"order_id": 1}, "x 1"),
    (Sender.static, ("order_id",), {"order_id": 1}, 1),
    (counted(Sender("x")), ("order_id",), {"order_id": 1}, "x 1"),
    (functools.lru_cache(Sender.static), ("order_id",), {"order_id": 1}, 1),
    (lambda: "done", (), {}, "done"),
]


@pytest.mark.parametrize(("handler", "parameters", "arguments", "result"), HANDLERS)
def test_whatever_does_its_work_when_called_may_be_a_handler(
    handler: Any, parameters: tuple[str, ...], arguments: dict[str, Any], result: Any
) -> None:
    """Partials, instances, methods and decorated ones; what a partial has bound is no part of the payload."""
    job_type = declared(handler, name="job")
    assert tuple(field["name"] for field in job_type.contract.schema["fields"]) == parameters
    payload = job_type.contract.payload((), arguments)
    args, kwargs = job_type.contract.arguments(job_type.contract.codec.decode(job_type.contract.encode(payload), 0))
    assert job_type(*args, **kwargs) == job_type(**arguments) == result
    assert not job_type.is_async


def test_async_handlers_are_known_behind_partials_and_instances() -> None:
    """They run on the event loop, whatever stands before the `async def`."""
    for handler in (
        functools.partial(send_async, address="x"),
        AsyncSender(),
        functools.partial(AsyncSender()),
        counted(AsyncSender()),
        counted(functools.partial(send_async, address="x")),
    ):
        assert declared(handler, name="job").is_async


def test_a_partial_is_described_by_its_function() -> None:
    """Not by the docstring that all partials share."""
    assert declared(functools.partial(send, sender=1), name="job").description == "Send a mail."


def generator(order_id: int) -> Iterator[int]:
    """Run nothing when called."""
    yield order_id


async def async_generator(order_id: int) -> AsyncIterator[int]:
    """Run nothing when called."""
    yield order_id


class GeneratorSender:
    """Runs nothing when called."""

    def __call__(self, order_id: int) -> Iterator[int]:
        """Yield."""
        yield order_id


def returns_coroutine(order_id: int) -> Coroutine[Any, Any, str]:
    """Return work."""
    return send_async(order_id, "x")


def returns_awaitable(order_id: int) -> Awaitable[str]:
    """Return work."""
    return send_async(order_id, "x")


def returns_future(order_id: int) -> Future[int]:
    """Return work."""
    raise NotImplementedError


async def returns_task(order_id: int) -> asyncio.Task[str]:
    """Return work, and await none of it."""
    return asyncio.create_task(send_async(order_id, "x"))


def returns_generator(order_id: int) -> Generator[int, None, None]:
    """Return work."""
    return (n for n in range(order_id))


@pytest.mark.parametrize(
    ("handler", "part"),
    [
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (functools.partial(generator, 1), "is a generator"),
        (GeneratorSender(), "is a generator"),
        (returns_coroutine, "nobody would do (Coroutine)"),
        (returns_awaitable, "nobody would do (Awaitable)"),
        (returns_future, "nobody would do (Future)"),
        (returns_task, "nobody would do (Task)"),
        (returns_generator, "nobody would do (Generator)"),
        (functools.partial(returns_awaitable, 1), "nobody would do (Awaitable)"),
        (Sender, "is a class"),
        (5, "is of type int, which cannot be called"),
        (Sender.__dict__["make"], "cannot be called"),
    ],
)
def test_a_handler_that_would_not_do_its_work_is_refused(handler: Any, part: str) -> None:
    """Calling it runs nothing, or makes work that nobody would do: told where it is declared."""
    with pytest.raises(InvalidDeclaration) as refused:
        declared(handler, name="job")
    assert part in str(refused.value)


def test_a_generator_that_its_decorator_runs_is_a_handler() -> None:
    """Only what is called counts: this one runs to its end."""

    def run_to_the_end(function: Callable[..., Iterator[int]]) -> Callable[..., int]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> int:
            return sum(function(*args, **kwargs))

        return run

    assert declared(run_to_the_end(generator))(order_id=3) == 3
    assert declared(contextmanager(generator)).name == "generator"


@pytest.mark.parametrize("handler", [functools.partial(send, sender=1), Sender("x"), lambda: None])
def test_what_has_no_name_is_asked_for_one(handler: Any) -> None:
    """A job type's name is part of the wire contract, and none is made up."""
    with pytest.raises(InvalidDeclaration, match="no name of its own; give one, with name="):
        declared(handler)


@pytest.mark.parametrize(
    ("handler", "part"),
    [(print, "any number of arguments"), (len, "positional-only"), (min, "Python does not know"), (dict.get, "pos")],
)
def test_builtins_are_refused_in_words(handler: Any, part: str) -> None:
    """They have no annotations, and some not even a signature."""
    with pytest.raises(ContractRefused, match=part):
        declared(handler, name="job")
