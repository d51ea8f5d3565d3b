"""Annotations of Python types: digits of decimals, former names, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, NewType, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from ..codec.schema import avro_name
from ..errors import Misfit

_VALUE: Final = "__value__"  # of what the oldest Python here has no type for


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """How many digits a Decimal has: `Annotated[Decimal, Digits(precision=10, scale=2)]`.

    `precision` counts all digits, `scale` those after the point. A bare Decimal has the defaults.
    """

    precision: int = 38
    scale: int = 9

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= self.precision or self.precision < 1:
            raise ValueError(f"a Decimal cannot have {self.scale} of {self.precision} digits after the point")


@dataclass(frozen=True, slots=True)
class Alias:
    """A former name of a parameter or field: `client: Annotated[str, Alias("customer")]`.

    Jobs that were published under the former name are read into the new one.
    """

    name: str


def type_hints(owner: Callable[..., object] | type) -> dict[str, object]:
    """Resolve annotations, or name the one that cannot be resolved."""
    try:
        return get_type_hints(owner, include_extras=True)
    except NameError as error:
        raise Misfit(
            f"has annotations that cannot be resolved ({error}); import or define the type at module level"
        ) from error


def peeled(annotation: object) -> tuple[object, list[object]]:
    """Take aliases, NewTypes and Annotated off a type; return it with the metadata found on the way."""
    metadata: list[object] = []
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *found = get_args(annotation)
            metadata = [*found, *metadata]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # in typing from Python 3.12 on
            annotation = getattr(annotation, _VALUE)
        else:
            return annotation, metadata


def aliases_of(metadata: Sequence[object]) -> list[Alias]:
    return [part for part in metadata if isinstance(part, Alias)]


def former_names(annotation: object) -> tuple[str, ...]:
    """The names of the aliases in an annotation.

    Raises:
        Misfit: one is not a name that Avro allows.
    """
    names = tuple(part.name for part in aliases_of(peeled(annotation)[1]))
    for name in names:
        if avro_name(name) != name:
            raise Misfit(f"has the alias {name!r}, which is not a name that Avro allows (ASCII letters, digits and _)")
    return names


def digits_of(metadata: Sequence[object]) -> dict[str, int]:
    """Read precision and scale from Digits, or from pydantic's max_digits and decimal_places."""
    found: dict[str, int] = {}
    for part in metadata:
        if isinstance(part, FieldInfo):
            found |= digits_of(part.metadata)
        elif isinstance(part, Digits):
            found |= {"precision": part.precision, "scale": part.scale}
        else:
            pydantic = {"precision": getattr(part, "max_digits", None), "scale": getattr(part, "decimal_places", None)}
            found |= {key: value for key, value in pydantic.items() if isinstance(value, int)}
    return found
