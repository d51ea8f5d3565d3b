"""Shapes of the values that Avro holds as logical types: dates, times, moments, UUIDs and decimals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Any
from uuid import UUID

from .errors import Misfit
from .shapes import Scalar, Step, refuse_other

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _check_date(value: Any) -> date:
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


def _moment(unit_us: int) -> Step:
    def check(value: Any) -> datetime:
        if not isinstance(value, datetime):
            raise refuse_other(value, "a datetime")
        moment = _in_utc(value)
        if moment.microsecond % unit_us:
            raise Misfit(f"is finer than the {unit_us // 1000} ms its schema holds")
        return moment

    return check


def _clock(unit_us: int) -> Step:
    def check(value: Any) -> time:
        if not isinstance(value, time):
            raise refuse_other(value, "a time")
        if value.tzinfo is not None:
            raise Misfit("is a time with a time zone, which Avro's time of day has not")
        if value.microsecond % unit_us:
            raise Misfit(f"is finer than the {unit_us // 1000} ms its schema holds")
        return value

    return check


def _check_uuid(value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    raise refuse_other(value, "a UUID")


def parsed(read: Callable[[str], Any], what: str, check: Step) -> Step:
    """Make a `parse` that reads text with `read`, then checks the value like any other."""

    def parse(data: Any) -> Any:
        if not isinstance(data, str):
            raise refuse_other(data, what)
        try:
            value = read(data)
        except (ValueError, DecimalException) as error:
            raise Misfit(f"must be {what}") from error
        return check(value)

    return parse


def _decimal(precision: int, scale: int) -> Step:
    exact = Context(prec=precision, traps=[Inexact, InvalidOperation])
    unit = Decimal(1).scaleb(-scale)

    def check(value: Any) -> Decimal:
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


def _unscaled(datum: Decimal) -> bytes:
    sign, digits, _ = datum.as_tuple()
    number = int("".join(map(str, digits)) or "0") * (-1 if sign else 1)
    return number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)


def decimal(precision: int, scale: int, avro: dict[str, Any] | None = None) -> Scalar:
    """Shape decimals of a precision and scale; `avro` is the schema where it is given, a `bytes` one otherwise."""
    check = _decimal(precision, scale)
    given = avro or {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    return Scalar(
        avro=given,
        name=given.get("name"),
        datum_type=Decimal,
        check=check,
        parse=parsed(Decimal, 'a decimal number in quotes, as "12.50"', check),
        render=lambda datum: format(datum, "f"),
        default=lambda datum: _unscaled(datum).decode("latin-1"),
        # Built from text, since arithmetic would round to the caller's decimal context.
        undefault=lambda text: Decimal(f"{int.from_bytes(text.encode('latin-1'), 'big', signed=True)}E-{scale}"),
    )


def _moment_shape(logical: str, unit_us: int) -> Scalar:
    check = _moment(unit_us)
    unit = timedelta(microseconds=unit_us)
    return Scalar(
        avro={"type": "long", "logicalType": logical},
        datum_type=datetime,
        check=check,
        parse=parsed(datetime.fromisoformat, "a moment as 2013-01-31T05:17:00+00:00", check),
        render=datetime.isoformat,
        default=lambda moment: (moment - _EPOCH) // unit,
        undefault=lambda count: _EPOCH + count * unit,
    )


def _clock_shape(avro: str, logical: str, unit_us: int) -> Scalar:
    check = _clock(unit_us)
    unit = timedelta(microseconds=unit_us)
    return Scalar(
        avro={"type": avro, "logicalType": logical},
        datum_type=time,
        check=check,
        parse=parsed(time.fromisoformat, "a time of day as 05:17:00", check),
        render=time.isoformat,
        default=lambda clock: (datetime.combine(_EPOCH.date(), clock, UTC) - _EPOCH) // unit,
        undefault=lambda count: (_EPOCH + count * unit).time(),
    )


DATE = Scalar(
    avro={"type": "int", "logicalType": "date"},
    datum_type=date,
    check=_check_date,
    parse=parsed(date.fromisoformat, "a date as 2013-01-31", _check_date),
    render=date.isoformat,
    default=lambda day: day.toordinal() - _EPOCH.toordinal(),
    undefault=lambda days: date.fromordinal(days + _EPOCH.toordinal()),
)
MOMENT = _moment_shape("timestamp-micros", 1)
MOMENT_MS = _moment_shape("timestamp-millis", 1000)
CLOCK = _clock_shape("long", "time-micros", 1)
CLOCK_MS = _clock_shape("int", "time-millis", 1000)
UUID_TEXT = Scalar(
    avro={"type": "string", "logicalType": "uuid"},
    datum_type=UUID,
    check=_check_uuid,
    parse=parsed(UUID, "a UUID", _check_uuid),
    render=str,
    default=str,
    undefault=UUID,
)
