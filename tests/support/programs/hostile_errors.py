"""Exceptions whose classes do anything while they are read; child processes find them here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Never


class Lookup(Exception):
    """Answers for any attribute from a body that lacks it, as wrappers of HTTP errors do."""

    def __init__(self) -> None:
        """Keep an empty body."""
        super().__init__("lookup")
        self.body: dict[str, str] = {}

    def __getattr__(self, name: str) -> str:
        """Raise `KeyError`, where `AttributeError` is asked for."""
        return self.body[name]


class Everything(Exception):
    """Has every attribute that it is asked for."""

    def __getattr__(self, name: str) -> Any:
        """Make something up."""
        return self


class Speechless(Exception):
    """Raises when it is put in words."""

    error: BaseException = RuntimeError("no words")

    def __str__(self) -> str:
        """Raise."""
        raise self.error

    __repr__ = __str__


class Quitting(Speechless):
    """Asks for the end of the program."""

    error = SystemExit(3)


class Interrupting(Speechless):
    """As Ctrl+C does."""

    error = KeyboardInterrupt()


class Exhausted(Speechless):
    """Has no memory left."""

    error = MemoryError()


class Recursive(Exception):
    """Describes itself by itself."""

    def __str__(self) -> str:
        """Recurse."""
        return f"{self}"


class NoText(Exception):
    """Its words are a number."""

    def __str__(self) -> str:
        """Give what is no text."""
        number: Any = 5
        return number  # type: ignore[no-any-return]  # the test's point


class Huge(Exception):
    """Says too much."""

    def __str__(self) -> str:
        """Give a hundred megabytes."""
        return "x" * 100_000_000


class _Text(str):
    __slots__ = ()

    def _raise(self, *_: object, **__: object) -> Never:
        raise RuntimeError("not this text")

    __getitem__ = __len__ = __add__ = __str__ = __format__ = __hash__ = encode = rpartition = join = _raise


class OddText(Exception):
    """Its words are of a class derived from text."""

    def __str__(self) -> str:
        """Give them."""
        return _Text("odd")


class NoModule(Exception):
    """Nobody knows where it is from."""


NoModule.__module__ = 7  # type: ignore[assignment]  # the test's point


LongName = type("L" * 100_000, (Exception,), {"__module__": "m" * 100_000})


class Properties(Exception):
    """Raises for all that a report reads."""

    def _raise(self) -> Never:
        raise RuntimeError("not this")

    __notes__ = __cause__ = __context__ = __traceback__ = __suppress_context__ = __dict__ = property(_raise)
    args = property(_raise)


class Pretender(Exception):
    """Says that it is of another class."""

    @property
    def __class__(self) -> type:
        """Lie."""
        return KeyError

    @__class__.setter
    def __class__(self, value: type) -> None:
        """Take nothing."""


class Faceless(Exception):
    """Raises when it is asked for its class."""

    @property
    def __class__(self) -> type:
        """Raise."""
        raise RuntimeError("no class")

    @__class__.setter
    def __class__(self, value: type) -> None:
        """Take nothing."""


class _Meta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        """Raise."""
        raise RuntimeError("no instances")

    def __getattribute__(cls, name: str) -> Any:
        """Raise for what a report reads."""
        if name in ("__name__", "__qualname__", "__module__", "__mro__"):
            raise RuntimeError(name)
        return super().__getattribute__(name)

    def __eq__(cls, other: object) -> bool:
        """Raise."""
        raise RuntimeError("no equality")

    __hash__ = type.__hash__


class Metaclassed(Exception, metaclass=_Meta):
    """Its class raises for everything."""


class Equal(Exception):
    """Raises when it is compared."""

    def __eq__(self, other: object) -> bool:
        """Raise."""
        raise RuntimeError("no equality")

    __hash__ = None  # type: ignore[assignment]  # the test's point


def syntax_error() -> BaseException:
    """A `SyntaxError` with text for an offset."""
    return SyntaxError("odd", ("file", "line", "offset", "text"))  # type: ignore[arg-type]  # the test's point


def noted() -> BaseException:
    """An error whose notes are no texts."""
    error = ValueError("noted")
    error.__notes__ = [Speechless(), _Text("note"), 5, *map(str, range(10_000))]  # type: ignore[list-item]
    return error


def odd_notes() -> BaseException:
    """An error whose notes are no list."""
    error = ValueError("noted")
    error.__notes__ = Everything()  # type: ignore[assignment]  # the test's point
    return error


def caused() -> BaseException:
    """Errors that are read only as causes."""
    error, cause = ValueError("effect"), Quitting()
    error.__cause__ = cause
    cause.__cause__ = error
    cause.__context__ = Lookup()
    return error


def deep() -> BaseException:
    """A chain of ten thousand causes."""
    error: BaseException = ValueError("root")
    for number in range(10_000):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    return error


def group() -> BaseException:
    """A group of such."""
    return ExceptionGroup("group", [Lookup(), Speechless(), Faceless(), Metaclassed(), Huge()])


def groups() -> BaseException:
    """A group of thousands, and a thousand floors of groups."""
    error: Exception = ExceptionGroup("leaves", [Speechless() for _ in range(20_000)])
    for _ in range(500):
        error = ExceptionGroup("floor", [error])
    return error


class MembersHidden(ExceptionGroup[Exception]):
    """A group that does not give its members."""

    @property
    def exceptions(self) -> Never:
        """Raise."""
        raise RuntimeError("no members")


def hidden_group() -> BaseException:
    """Such a group."""
    return MembersHidden("hidden", [ValueError("x")])


HOSTILE: dict[str, Callable[[], BaseException]] = {
    made.__name__: made
    for made in (
        Lookup, Everything, Speechless, Quitting, Interrupting, Exhausted, Recursive, NoText, Huge, OddText, NoModule,
        Properties, Pretender, Faceless, Equal, syntax_error, noted, odd_notes, caused, deep, group,
        groups, hidden_group,
    )
}  # fmt: skip
HOSTILE |= {"Metaclassed": Metaclassed, "LongName": LongName}


def fail(name: str) -> None:
    """Raise one of them."""
    raise HOSTILE[name]()


async def fail_async(name: str) -> None:
    """The same on an event loop."""
    raise HOSTILE[name]()
