"""Types of payloads of every kind, and the contract of a job with one parameter of such a type."""

from __future__ import annotations

import enum
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, NewType

from pydantic import BaseModel, Field

from stoker.schemas import Contract

Tail = NewType("Tail", str)


class Cabin(enum.Enum):
    """An Enum whose values are no strings: its names go on the wire."""

    COACH = 1
    FIRST = 2


class Rights(enum.Flag):
    """Flags combine, which Avro's enums cannot."""

    READ = 1
    WRITE = 2


@dataclass
class Leg:
    """A nested record."""

    origin: str
    minutes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A declared record with most of what a record can have."""

    tail: Tail
    delay: int
    at: datetime
    cabin: Cabin = Cabin.COACH
    legs: list[Leg] = field(default_factory=list)
    refund: Decimal | None = None


class Model(BaseModel):
    """A pydantic model with a constraint of its own, and an alias, which the wire does not know."""

    seats: int = Field(gt=0, validation_alias="Seats")
    fare: Annotated[Decimal, Field(max_digits=6, decimal_places=2)] = Decimal("1.50")
    leg: Leg | None = None


@dataclass
class Tree:
    """A recursive type."""

    name: str
    parts: list[Tree]


@dataclass
class Lazy:
    """A record that cannot be read back from its attributes."""

    size: InitVar[int]


@dataclass
class Picky:
    """A record that refuses some values of the right type."""

    share: int

    def __post_init__(self) -> None:
        """Refuse shares over 100."""
        if self.share > 100:
            raise ValueError("a share is at most 100")


def namesakes() -> tuple[type[Any], type[Any]]:
    """Make two classes of one name."""

    @dataclass
    class Twin:
        a: int

    first = Twin

    @dataclass
    class Twin:  # type: ignore[no-redef]  # two classes of one name are the point
        b: str

    return first, Twin


def contract_for(annotation: Any, default: Any = None, *, has_default: bool = False) -> Contract:
    """Derive the contract of a job with one parameter, `value`."""

    def job(value: Any) -> None: ...

    job.__annotations__ = {"value": annotation, "return": None}
    if has_default:
        job.__defaults__ = (default,)
    return Contract.of_function(job, job_type="demo.job", namespace="demo")


def field_type(contract: Contract) -> Any:
    """Read the type of the field `value`."""
    return contract.schema["fields"][0]["type"]
