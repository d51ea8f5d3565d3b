"""Questions to a Schema Registry: each ends soon, with an answer or with the reason why there is none.

Only the registry's own "not found" counts as one: a 404 without its error code is a proxy's, or a wrong path's, and
is no answer about schemas.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from ..codec.schema import Schema as AvroSchema
from ..errors import RegistryMissing, RegistrySettingRefused, RegistryUnreachable

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

T = TypeVar("T")

Option = str | int | float | bool

TIMEOUT_S: Final = 5.0
"""How long the registry may take to accept a connection, and again for each piece of its answer."""
_NOT_FOUND: Final = 404
_REFUSED: Final = frozenset({409, 422})
_SHOWN_CHARACTERS: Final = 200
_NO_ANSWER: Final = (ValueError, LookupError, TypeError, AttributeError)
"""The errors of the registry's client for an answer that is not JSON, or not a registry's."""


class RegistryRefusal(Exception):
    """The registry does not take a schema, with its reason. Never leaves this room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSchema:
    """A schema as the registry gives it.

    Attributes:
        schema_id: None where the answer names none.
        text: its Avro as JSON.
        references: {name it uses: (subject, version) that define it}.
    """

    schema_id: int | None
    text: str
    references: Mapping[str, tuple[str, int]]


class RegistryClient:
    """One registry, or several that hold the same. Safe to call from several threads.

    Attributes:
        shown: its addresses, as they may be printed.
    """

    def __init__(self, url: str, options: Mapping[str, Option]) -> None:
        """Check the settings; nothing is connected before the first question.

        Raises:
            RegistrySettingRefused: an address or an option cannot be.
            RegistryMissing: the `registry` extra is not installed.
        """
        addresses = _addresses(url)
        self.shown = printable_address(url)
        users = [_user_info(parts) for parts in addresses if "@" in parts.netloc]
        secrets = {"basic.auth.user.info": users[0]} if users else {}
        self._client = _client({"timeout": TIMEOUT_S, "max.retries": 0, **secrets, **options, "url": self.shown})

    def versions(self, subject: str) -> Sequence[int]:
        """List the versions of a subject; none where it does not exist, or was deleted."""
        numbers = self._ask(self._client.get_versions, subject)
        if not isinstance(numbers, list | None) or not all(isinstance(number, int) for number in numbers or ()):
            raise self._unreachable("what answers there is no Schema Registry: it gave no list of versions")
        return numbers or ()

    def version(self, subject: str, number: int) -> FoundSchema | None:
        """Get one version of a subject."""
        found = self._ask(self._client.get_version, subject, number)
        return None if found is None else self._found(found.schema_id, found.schema)

    def schema(self, schema_id: int) -> FoundSchema | None:
        """Get a schema by its id, whatever its subject."""
        found = self._ask(self._client.get_schema, schema_id)
        return None if found is None else self._found(schema_id, found)

    def register(self, subject: str, schema: AvroSchema) -> int:
        """Register a schema, and return its id.

        Raises:
            RegistryRefusal: the registry does not take it.
        """
        schema_id = self._ask(self._client.register_schema, subject, _as_avro(schema))
        if not isinstance(schema_id, int):
            raise self._unreachable("it gave no id for a schema; is the path of its address right?")
        return schema_id

    def is_compatible(self, subject: str, schema: AvroSchema) -> bool:
        """Ask whether the registry's own rule for the subject lets a schema in beside the versions there."""
        avro = _as_avro(schema)
        try:
            verdict = self._ask(self._client.test_compatibility_all_versions, subject, avro)
        except (RegistryUnreachable, RegistryRefusal):  # some registries compare with one version at a time only
            verdict = self._ask(self._client.test_compatibility, subject, avro)
        return verdict is not False

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _ask(self, question: Callable[..., T], *about: object) -> T | None:
        """Ask; None is the registry's answer for what it does not have."""
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            return question(*about)
        except SchemaRegistryError as answer:
            if _is_not_found(answer):
                return None
            if answer.http_status_code in _REFUSED:
                raise RegistryRefusal(_bounded(answer.error_message)) from answer
            raise self._unreachable(_in_words(answer)) from answer
        except _transport_errors() as failure:
            raise self._unreachable(_bounded(failure) or type(failure).__name__) from failure
        except _NO_ANSWER as strange:
            reason = f"what answers there is no Schema Registry ({type(strange).__name__}: {_bounded(strange)})"
            raise self._unreachable(reason) from strange

    def _found(self, schema_id: int | None, schema: Schema) -> FoundSchema:
        if not isinstance(schema.schema_str, str):
            self._client.clear_caches()  # type: ignore[no-untyped-call]  # it would give this answer again, after the registry has another
            raise self._unreachable("what answers there is no Schema Registry: it gave no schema")
        references = {
            one.name: (one.subject, one.version)
            for one in schema.references or ()
            if one.name and one.subject and one.version
        }
        return FoundSchema(schema_id=schema_id, text=schema.schema_str, references=references)

    def _unreachable(self, reason: str) -> RegistryUnreachable:
        return RegistryUnreachable(self.shown, reason)


def printable_address(url: str) -> str:
    """The address without user and password.

    Raises:
        RegistrySettingRefused: it is none.
    """
    return ",".join(_without_user(parts).geturl() for parts in _addresses(url))


def subject_of(namespace: str, job_type: str) -> str:
    """The subject of a job type's versions."""
    return f"{namespace}.{job_type}" if namespace else job_type


def _addresses(url: str) -> list[SplitResult]:
    return [_address(one.strip()) for one in url.split(",")]


def _address(text: str) -> SplitResult:
    """Take an address apart.

    Raises:
        RegistrySettingRefused: it is none.
    """
    shown = repr(text.rpartition("@")[2].partition("?")[0])  # the rest may hold a password
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises where it is no number
    except ValueError as error:
        raise RegistrySettingRefused(f"the address {shown}", f"cannot be read ({error})") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RegistrySettingRefused(f"the address {shown}", "is no URL with http:// or https:// and a host")
    if parts.query or parts.fragment:
        raise RegistrySettingRefused(f"the address {shown}", "has a query or a fragment, which no registry has")
    return parts


def _without_user(parts: SplitResult) -> SplitResult:
    """Leave user and password out: the HTTP library logs the URLs that it requests."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2])


def _user_info(parts: SplitResult) -> str:
    """`user:password`, the latter perhaps empty."""
    user_info = unquote(parts.netloc.rpartition("@")[0])
    return user_info if ":" in user_info else f"{user_info}:"


def _client(config: dict[str, Option]) -> SchemaRegistryClient:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise RegistryMissing from error
    try:
        return SchemaRegistryClient(config)
    except (ValueError, TypeError, OSError) as error:  # an option's value, or a file that is not there or no key
        raise RegistrySettingRefused("an option", f"is refused by its client ({error})") from error


def _transport_errors() -> tuple[type[Exception], ...]:
    """Find the errors of the HTTP library that the registry's client uses: httpx2 where it is installed, else httpx."""
    try:
        library = importlib.import_module("httpx2")
    except ImportError:
        library = importlib.import_module("httpx")
    return library.HTTPError, library.InvalidURL


def _as_avro(schema: AvroSchema) -> Schema:
    from confluent_kafka.schema_registry import Schema

    return Schema(json.dumps(schema), "AVRO")


def _is_not_found(answer: SchemaRegistryError) -> bool:
    """Whether the registry itself answered: its codes are 40401 for subjects, 40402 for versions, 40403 for schemas."""
    code = answer.error_code
    return answer.http_status_code == _NOT_FOUND and isinstance(code, int) and code // 100 == _NOT_FOUND


_MEANINGS: Final = {
    401: "it wants other credentials than it was given",
    403: "these credentials may not do that",
    404: "there is no registry at that path",
    429: "it was asked too often",
}


def _in_words(answer: SchemaRegistryError) -> str:
    status = int(answer.http_status_code)
    meaning = _MEANINGS.get(status, "it redirects elsewhere, which is not followed" if 300 <= status < 400 else "")
    return f"HTTP {status}{f': {meaning}' if meaning else ''} ({_bounded(answer.error_message)})"


def _bounded(text: object) -> str:
    """A foreign text in one printable line that is not long."""
    line = " ".join(str(text).split())
    shown = "".join(sign if sign.isprintable() else "?" for sign in line)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"
