"""Avro's logical types: from the number, text or bytes on the wire to a value, and back.

Each `read` takes what a schema could have been written with and refuses all else, since a value that a reader has
rounded, wrapped or guessed is another value. None of them looks at the thread's decimal context.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from ..errors import Misfit
from .schema import FixedSchema, PrimitiveSchema, ScalarSchema

W = TypeVar("W")
V = TypeVar("V")

MAX_DIGITS: Final = 4_000
"""Digits of a decimal at the most: Python writes no whole number of more than 4,300 as text."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_DAY: Final = timedelta(days=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning(Generic[W, V]):
    """One logical type: `read` makes the value and raises Misfit, `write` makes what goes on the wire."""

    read: Callable[[W], V]
    write: Callable[[V], W]


AnyMeaning: TypeAlias = Meaning[Any, Any]
"""The meaning of some logical type: the schema determines which one when the program runs."""


def meaning_of(schema: ScalarSchema) -> AnyMeaning | None:
    """Find what a schema's logical type means; None where there is none, or an unknown one, which Avro ignores."""
    if schema["type"] == "enum":
        return None
    if is_decimal(schema):
        size = schema["size"] if schema["type"] == "fixed" else None
        return _decimal(schema["precision"], schema.get("scale", 0), size)
    logical = schema.get("logicalType")
    return _MEANINGS.get((schema["type"], logical)) if isinstance(logical, str) else None


def is_decimal(schema: FixedSchema | PrimitiveSchema) -> bool:
    """Whether a schema's logical type is a decimal that Avro allows; another one means nothing."""
    if schema.get("logicalType") != "decimal" or schema["type"] not in ("bytes", "fixed"):
        return False
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    return isinstance(precision, int) and isinstance(scale, int) and 0 <= scale <= precision and precision > 0


def require_digits(precision: int) -> None:
    """Refuse decimals that Python could not show.

    Raises:
        Misfit: the precision is above `MAX_DIGITS`.
    """
    if precision > MAX_DIGITS:
        raise Misfit(f"is a decimal of {precision} digits; {MAX_DIGITS} are the most")


def exact_context(precision: int) -> Context:
    """Make a decimal context of a schema's own, in which nothing of the thread's, which any job may set, counts."""
    return Context(prec=precision, Emin=MIN_EMIN, Emax=MAX_EMAX, clamp=0, traps=[])


def _decimal(precision: int, scale: int, size: int | None) -> Meaning[bytes, Decimal]:
    require_digits(precision)
    limit, exact = 10**precision, exact_context(precision)

    def read(data: bytes) -> Decimal:
        unscaled = int.from_bytes(data, "big", signed=True)
        if -limit < unscaled < limit:
            return Decimal(unscaled).scaleb(-scale, exact)
        raise Misfit(f"is a decimal of more digits than the {precision} of its schema")

    def write(value: Decimal) -> bytes:
        unscaled = int(value.scaleb(scale, exact))
        return unscaled.to_bytes(size or (unscaled.bit_length() + 8) // 8, "big", signed=True)

    return Meaning(read=read, write=write)


def _read_date(days: int) -> date:
    try:
        return date.fromordinal(days + _EPOCH_DAY)
    except (ValueError, OverflowError) as error:
        raise Misfit(f"is a date outside of the years 1 to 9999: {days} days from 1970") from error


def _write_date(day: date) -> int:
    return day.toordinal() - _EPOCH_DAY


def _moment(unit: timedelta) -> Meaning[int, datetime]:
    def read(count: int) -> datetime:
        try:
            return _EPOCH + count * unit
        except OverflowError as error:
            raise Misfit(f"is a moment outside of the years 1 to 9999: {count} times {unit} from 1970") from error

    def write(moment: datetime | int) -> int:
        return moment if isinstance(moment, int) else (moment - _EPOCH) // unit

    return Meaning(read=read, write=write)


def _clock(unit: timedelta) -> Meaning[int, time]:
    units_of_day = _DAY // unit

    def read(count: int) -> time:
        if not 0 <= count < units_of_day:
            raise Misfit(f"is a time of day outside of the day: {count} of {units_of_day}")
        return (_EPOCH + count * unit).time()

    def write(clock: time) -> int:
        since_midnight = timedelta(
            hours=clock.hour, minutes=clock.minute, seconds=clock.second, microseconds=clock.microsecond
        )
        return since_midnight // unit

    return Meaning(read=read, write=write)


def _read_uuid(text: str) -> UUID:
    if not _UUID.fullmatch(text):
        raise Misfit("is text that is no UUID")
    return UUID(text)


_MEANINGS: Final[dict[tuple[str, str], AnyMeaning]] = {
    ("int", "date"): Meaning(read=_read_date, write=_write_date),
    ("int", "time-millis"): _clock(_MILLISECOND),
    ("long", "time-micros"): _clock(_MICROSECOND),
    ("long", "timestamp-millis"): _moment(_MILLISECOND),
    ("long", "timestamp-micros"): _moment(_MICROSECOND),
    ("string", "uuid"): Meaning(read=_read_uuid, write=str),
}
