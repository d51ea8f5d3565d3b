"""Shapes of Avro's primitives: null, booleans, numbers, text and bytes; and of bytes of a fixed length."""

from __future__ import annotations

import base64
import math
import struct

from ..codec.schema import FixedSchema, Primitive
from ..errors import Misfit, seen
from ..json_data import Json
from .shape import Scalar, Step, refuse_other

_LONG = (-(2**63), 2**63 - 1)
_INT = (-(2**31), 2**31 - 1)


def _check_null(value: object) -> None:
    if value is not None:
        raise refuse_other(value, "None")


def _check_bool(value: object) -> bool:
    if value is True or value is False:
        return bool(value)
    raise refuse_other(value, "a bool")


def _whole(low: int, high: int, bits: int) -> Step[int]:
    def check(value: object) -> int:
        if type(value) is not int:
            if not isinstance(value, int) or isinstance(value, bool):
                raise refuse_other(value, "an int")
            value = int(value)
        if low <= value <= high:
            return int(value)
        raise Misfit(f"is out of the range of a {bits}-bit integer: {seen(value)}")

    return check


def _check_double(value: object) -> float:
    if type(value) is float:
        return value
    if isinstance(value, float):
        return float(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise refuse_other(value, "a float")
    if abs(value) > 2**53:
        raise Misfit(f"is an int that a float cannot hold exactly: {seen(value)}")
    return float(value)


def _check_float(value: object) -> float:
    number = _check_double(value)
    if math.isfinite(number) and abs(number) > 3.4028234663852886e38:
        raise Misfit("is out of the range of a 32-bit float")
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


def _parse_float(check: Step[float]) -> Step[float]:
    def parse(data: object) -> float:
        if data in ("NaN", "Infinity", "-Infinity"):
            return float(data)
        return float(check(data))

    return parse


def _render_float(datum: float) -> float | str:
    if math.isfinite(datum):
        return datum
    return "NaN" if math.isnan(datum) else "Infinity" if datum > 0 else "-Infinity"


def check_text(value: object) -> str:
    """Check for text that UTF-8 can hold."""
    if not isinstance(value, str):
        raise refuse_other(value, "a str")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Misfit("holds a lone surrogate, which UTF-8 cannot") from error
    return value if type(value) is str else str.__str__(value)


def check_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return bytes(value)
    raise refuse_other(value, "bytes")


def parse_bytes(data: object) -> bytes:
    """Read bytes from JSON: text is UTF-8; `{"base64": "..."}` is anything."""
    if isinstance(data, str):
        return check_text(data).encode()
    if isinstance(data, dict) and list(data) == ["base64"] and isinstance(data["base64"], str):
        try:
            return base64.b64decode(data["base64"], validate=True)
        except ValueError as error:
            raise Misfit("is not valid base64") from error
    raise Misfit('must be text or {"base64": "..."}, got ' + seen(data))


def render_bytes(datum: bytes) -> Json:
    """Show bytes as text where they are UTF-8, else as base64."""
    try:
        return datum.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(datum).decode()}


def fixed(avro: FixedSchema) -> Scalar[bytes]:
    """Shape bytes of a fixed length."""
    size = int(avro["size"])

    def check(value: object) -> bytes:
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


def undefault_bytes(default: object) -> bytes:
    """Read bytes from a schema's default."""
    try:
        return check_text(default).encode("latin-1")
    except UnicodeEncodeError as error:
        raise Misfit("has characters above U+00FF where a default of bytes has one for each byte") from error


def _float_default(datum: float) -> float:
    if not math.isfinite(datum):
        raise Misfit(f"is {datum}, which JSON cannot hold")
    return datum


def _whole_shape(avro: Primitive, bounds: tuple[int, int], bits: int) -> Scalar[int]:
    check = _whole(*bounds, bits)
    return Scalar(avro=avro, value_type=int, check=check, parse=check, undefault=check)


def _float_shape(avro: Primitive, check: Step[float]) -> Scalar[float]:
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
