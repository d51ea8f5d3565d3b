"""Shapes of primitive values: how each is written in Avro, checked, and shown as JSON.

A *shape* joins three forms of one value:

    value  what the job's function takes          (a `datetime`, an `Enum` member, a dataclass)
    datum  what a body is written from            (a `datetime`, the member's name, a dict)
    JSON   what a person types or reads           ("2013-01-31T05:17:00+00:00", ...)

`check` is value -> datum and never converts what does not fit; `build` is datum -> value; `parse` and `render` go
from and to JSON. A refusal is a `Misfit`.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..codec.avro import Schema
from ..errors import Misfit, seen

Step = Callable[[Any], Any]

_LONG = (-(2**63), 2**63 - 1)
_INT = (-(2**31), 2**31 - 1)


class Shape(Protocol):
    """What every shape offers."""

    @property
    def name(self) -> str | None:
        """Full Avro name of a named type (record, enum, fixed), else None."""

    @property
    def value_type(self) -> type:
        """Python type of the values, by which a union finds the branch of a value."""

    @property
    def plain(self) -> bool:
        """Whether value and datum are the same object, so that `build` can be left out."""

    def schema(self, defined: set[str]) -> Schema:
        """Return the Avro schema; a name already in `defined` is referred to, a new one is added."""

    def check(self, value: Any) -> Any:
        """Turn a value into a datum, or raise Misfit."""

    def build(self, datum: Any) -> Any:
        """Turn a datum into a value, or raise Misfit."""

    def parse(self, data: Any) -> Any:
        """Turn JSON as a person types it into a datum, or raise Misfit."""

    def render(self, datum: Any) -> Any:
        """Turn a datum into JSON that `parse` reads back."""

    def default(self, datum: Any) -> Any:
        """Turn a datum into the JSON in which Avro schemas write defaults, or raise Misfit."""

    def undefault(self, default: Any) -> Any:
        """Turn a default as Avro schemas write it into a datum, or raise Misfit."""


def same(value: Any) -> Any:
    """Leave a value as it is, for the forms that coincide."""
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A shape made of one function for each direction."""

    avro: Schema
    value_type: type
    check: Step
    parse: Step
    undefault: Step
    render: Step = same
    default: Step = same
    build: Step = same
    plain: bool = True
    name: str | None = None

    def schema(self, defined: set[str]) -> Schema:
        """Return the Avro schema; fixed types are named, and defined once."""
        if self.name is None:
            return self.avro
        if self.name in defined:
            return self.name
        defined.add(self.name)
        return self.avro


def refuse_other(value: object, wanted: str) -> Misfit:
    """Say what was wanted and what came instead."""
    if value is None:
        return Misfit(f"must be {wanted}; None is not allowed here")
    return Misfit(f"must be {wanted}, got {seen(value)}")


def is_same(one: object, other: object) -> bool:
    """Whether two values are equal in value and in type, and so are all their parts; NaN is the same as NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(part, other[key]) for key, part in one.items())
    return one == other or (one != one and other != other)  # noqa: PLR0124  # only NaN is not itself


def _check_null(value: Any) -> None:
    if value is not None:
        raise refuse_other(value, "None")


def _check_bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise refuse_other(value, "a bool")


def _whole(low: int, high: int, bits: int) -> Step:
    def check(value: Any) -> int:
        if type(value) is not int:
            if not isinstance(value, int) or isinstance(value, bool):
                raise refuse_other(value, "an int")
            value = int(value)
        if low <= value <= high:
            return int(value)
        raise Misfit(f"is out of the range of a {bits}-bit integer: {seen(value)}")

    return check


def _check_double(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, float):
        return float(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise refuse_other(value, "a float")
    if abs(value) > 2**53:
        raise Misfit(f"is an int that a float cannot hold exactly: {seen(value)}")
    return float(value)


def _check_float(value: Any) -> float:
    number = _check_double(value)
    if math.isfinite(number) and abs(number) > 3.4028234663852886e38:
        raise Misfit("is out of the range of a 32-bit float")
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


def _parse_float(check: Step) -> Step:
    def parse(data: Any) -> float:
        if data in ("NaN", "Infinity", "-Infinity"):
            return float(data)
        return float(check(data))

    return parse


def _render_float(datum: float) -> float | str:
    if math.isfinite(datum):
        return datum
    return "NaN" if math.isnan(datum) else "Infinity" if datum > 0 else "-Infinity"


def check_text(value: Any) -> str:
    """Check for text that UTF-8 can hold."""
    if not isinstance(value, str):
        raise refuse_other(value, "a str")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Misfit("holds a lone surrogate, which UTF-8 cannot") from error
    return value if type(value) is str else str.__str__(value)


def check_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return bytes(value)
    raise refuse_other(value, "bytes")


def parse_bytes(data: Any) -> bytes:
    """Read bytes from JSON: text is UTF-8; `{"base64": "..."}` is anything."""
    if isinstance(data, str):
        return check_text(data).encode()
    if isinstance(data, dict) and list(data) == ["base64"] and isinstance(data["base64"], str):
        try:
            return base64.b64decode(data["base64"], validate=True)
        except ValueError as error:
            raise Misfit("is not valid base64") from error
    raise Misfit('must be text or {"base64": "..."}, got ' + seen(data))


def render_bytes(datum: bytes) -> str | dict[str, str]:
    """Show bytes as text where they are UTF-8, else as base64."""
    try:
        return datum.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(datum).decode()}


def fixed(avro: dict[str, Any]) -> Scalar:
    """Shape bytes of a fixed length."""
    size = int(avro["size"])

    def check(value: Any) -> bytes:
        data = check_bytes(value)
        if len(data) != size:
            raise Misfit(f"must be {size} bytes long, got {len(data)}")
        return data

    return Scalar(
        avro=avro,
        name=avro["name"],
        value_type=bytes,
        check=check,
        parse=lambda data: check(parse_bytes(data)),
        render=render_bytes,
        default=bytes_default,
        undefault=lambda text: check(undefault_bytes(text)),
    )


def bytes_default(datum: bytes) -> str:
    """Write bytes as a schema has them in a default: a character for each."""
    return datum.decode("latin-1")


def undefault_bytes(default: Any) -> bytes:
    """Read bytes from a schema's default."""
    try:
        return check_text(default).encode("latin-1")
    except UnicodeEncodeError as error:
        raise Misfit("has characters above U+00FF where a default of bytes has one for each byte") from error


def _float_default(datum: float) -> float:
    if not math.isfinite(datum):
        raise Misfit(f"is {datum}, which JSON cannot hold")
    return datum


def _whole_shape(avro: str, bounds: tuple[int, int], bits: int) -> Scalar:
    check = _whole(*bounds, bits)
    return Scalar(avro=avro, value_type=int, check=check, parse=check, undefault=check)


def _float_shape(avro: str, check: Step) -> Scalar:
    return Scalar(
        avro=avro,
        value_type=float,
        check=check,
        parse=_parse_float(check),
        render=_render_float,
        default=_float_default,
        undefault=check,
    )


NULL = Scalar(avro="null", value_type=type(None), check=_check_null, parse=_check_null, undefault=_check_null)
BOOLEAN = Scalar(avro="boolean", value_type=bool, check=_check_bool, parse=_check_bool, undefault=_check_bool)
LONG = _whole_shape("long", _LONG, 64)
INT = _whole_shape("int", _INT, 32)
DOUBLE = _float_shape("double", _check_double)
FLOAT = _float_shape("float", _check_float)
STRING = Scalar(avro="string", value_type=str, check=check_text, parse=check_text, undefault=check_text)
BYTES = Scalar(
    avro="bytes",
    value_type=bytes,
    check=check_bytes,
    parse=parse_bytes,
    render=render_bytes,
    default=bytes_default,
    undefault=undefault_bytes,
)
