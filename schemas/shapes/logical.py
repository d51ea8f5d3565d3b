"""Shapes of the values that Avro holds as logical types: dates, times, moments, UUIDs and decimals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal, DecimalException, Inexact, InvalidOperation
from typing import Literal
from uuid import UUID

from ..codec.logical_types import AnyMeaning, exact_context, meaning_of, require_digits
from ..codec.schema import FixedSchema, PrimitiveSchema, ScalarSchema
from ..errors import Misfit
from .primitives import INT, LONG, STRING, bytes_default, undefault_bytes
from .shape import AnyScalar, D, Scalar, Step, refuse_other


def _check_date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise refuse_other(value, "a date")


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        raise Misfit("is a datetime without a time zone; make it aware, as in datetime.now(UTC)")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise Misfit("is out of the range of datetimes once it is in UTC") from error


def _moment(unit_us: int) -> Step[datetime]:
    def check(value: object) -> datetime:
        if not isinstance(value, datetime):
            raise refuse_other(value, "a datetime")
        moment = _in_utc(value)
        if moment.microsecond % unit_us:
            raise Misfit(f"is finer than the {unit_us // 1000} ms its schema holds")
        return moment

    return check


def _clock(unit_us: int) -> Step[time]:
    def check(value: object) -> time:
        if not isinstance(value, time):
            raise refuse_other(value, "a time")
        if value.tzinfo is not None:
            raise Misfit("is a time with a time zone, which Avro's time of day has not")
        if value.microsecond % unit_us:
            raise Misfit(f"is finer than the {unit_us // 1000} ms its schema holds")
        return value

    return check


def _check_uuid(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    raise refuse_other(value, "a UUID")


def parsed(read: Callable[[str], object], what: str, check: Step[D]) -> Step[D]:
    """Make a `parse` that reads text with `read`, then checks the value like any other."""

    def parse(data: object) -> D:
        if not isinstance(data, str):
            raise refuse_other(data, what)
        try:
            value = read(data)
        except (ValueError, DecimalException) as error:
            raise Misfit(f"must be {what}") from error
        return check(value)

    return parse


def _decimal(precision: int, scale: int) -> Step[Decimal]:
    require_digits(precision)
    exact = exact_context(precision)
    exact.traps[Inexact] = exact.traps[InvalidOperation] = True
    unit = Decimal((0, (1,), -scale))

    def check(value: object) -> Decimal:
        if not isinstance(value, Decimal):
            raise refuse_other(value, "a Decimal")
        try:
            return value.quantize(unit, context=exact) if value.is_finite() else _not_finite()
        except Inexact as error:
            raise Misfit(f"has more than {scale} digits after the point") from error
        except InvalidOperation as error:
            raise Misfit(f"has more than {precision - scale} digits before the point") from error

    return check


def _not_finite() -> Decimal:
    raise Misfit("must be a finite Decimal")


def decimal(precision: int, scale: int, avro: PrimitiveSchema | FixedSchema | None = None) -> Scalar[Decimal]:
    """Shape decimals of a precision and scale; `avro` is the schema where it is given, a `bytes` one otherwise."""
    check = _decimal(precision, scale)
    plain: PrimitiveSchema = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    given = avro or plain
    meaning = _meaning(given)
    return Scalar(
        avro=given,
        name=given["name"] if given["type"] == "fixed" else None,
        value_type=Decimal,
        check=check,
        parse=parsed(Decimal, 'a decimal number in quotes, as "12.50"', check),
        render=lambda datum: format(datum, "f"),
        default=lambda datum: bytes_default(meaning.write(datum)),
        undefault=lambda text: meaning.read(undefault_bytes(text)),
    )


def _meaning(avro: ScalarSchema) -> AnyMeaning:
    meaning = meaning_of(avro)
    assert meaning is not None, avro
    return meaning


def _shape(
    kind: Literal["int", "long", "string"],
    logical: str,
    value_type: type[D],
    *,
    check: Step[D],
    parse: Step[D],
    render: Callable[[D], str],
) -> Scalar[D]:
    """Shape a logical type of numbers or text, whose defaults are what goes on the wire."""
    avro: PrimitiveSchema = {"type": kind, "logicalType": logical}
    plain: AnyScalar = STRING if kind == "string" else INT if kind == "int" else LONG
    meaning = _meaning(avro)
    return Scalar(
        avro=avro,
        value_type=value_type,
        check=check,
        parse=parse,
        render=render,
        default=meaning.write,
        undefault=lambda default: meaning.read(plain.undefault(default)),
    )


def _moment_shape(logical: str, unit_us: int) -> Scalar[datetime]:
    check = _moment(unit_us)
    parse = parsed(datetime.fromisoformat, "a moment as 2013-01-31T05:17:00+00:00", check)
    return _shape("long", logical, datetime, check=check, parse=parse, render=datetime.isoformat)


def _clock_shape(kind: Literal["int", "long"], logical: str, unit_us: int) -> Scalar[time]:
    check = _clock(unit_us)
    parse = parsed(time.fromisoformat, "a time of day as 05:17:00", check)
    return _shape(kind, logical, time, check=check, parse=parse, render=time.isoformat)


_parse_date = parsed(date.fromisoformat, "a date as 2013-01-31", _check_date)
DATE = _shape("int", "date", date, check=_check_date, parse=_parse_date, render=date.isoformat)
MOMENT = _moment_shape("timestamp-micros", 1)
MOMENT_MS = _moment_shape("timestamp-millis", 1000)
CLOCK = _clock_shape("long", "time-micros", 1)
CLOCK_MS = _clock_shape("int", "time-millis", 1000)
_parse_uuid = parsed(UUID, "a UUID", _check_uuid)
UUID_TEXT = _shape("string", "uuid", UUID, check=_check_uuid, parse=_parse_uuid, render=str)
