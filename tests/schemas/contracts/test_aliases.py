"""A parameter that was renamed: jobs of the former name are read into the new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from stoker.schemas import Alias, Compatibility, Contract, ContractRefused, Decoder, MemorySchemaStore, check


class Old:
    """The records before the renaming."""

    @dataclass
    class Line:
        """A dataclass."""

        article: str

    class Model(BaseModel):
        """A model."""

        article: str


class New:
    """The records after it."""

    @dataclass
    class Line:
        """A dataclass."""

        sku: Annotated[str, Alias("article")]

    class Model(BaseModel):
        """A model."""

        sku: Annotated[str, Alias("article")]


def before(customer: int) -> None:
    """Have the former name."""


def after(client: Annotated[int, Alias("customer")]) -> None:
    """Have the new one."""


def after_twice(client: Annotated[int, Alias("customer"), Alias("buyer")]) -> None:
    """Have had two."""


def after_with_default(client: Annotated[int, Alias("customer")] = 7) -> None:
    """Have a default, which is for jobs that were written under no name at all."""


def old_model(line: Old.Model) -> None:
    """Have a model before the renaming."""


def new_model(line: New.Model) -> None:
    """Have it after."""


def old_line(line: Old.Line) -> None:
    """Have a dataclass before the renaming."""


def new_line(line: New.Line) -> None:
    """Have it after."""


def contract_of(function: Callable[..., object]) -> Contract:
    """Make a version of the one job type."""
    return Contract.of_function(function, job_type="job", namespace="n")


@pytest.mark.parametrize(
    ("old", "new", "given", "read"),
    [
        (before, after, {"customer": 3}, {"client": 3}),
        (before, after_twice, {"customer": 3}, {"client": 3}),
        (before, after_with_default, {"customer": 3}, {"client": 3}),
        (old_line, new_line, {"line": Old.Line("a-1")}, {"line": New.Line("a-1")}),
        (old_model, new_model, {"line": Old.Model(article="a-1")}, {"line": New.Model(sku="a-1")}),
    ],
    ids=["parameter", "two aliases", "default", "dataclass", "model"],
)
def test_a_renamed_field_takes_the_values_of_its_former_name(
    old: Callable[..., object], new: Callable[..., object], given: dict[str, Any], read: dict[str, Any]
) -> None:
    """A job that was published before the renaming reaches the handler under the new name; no rule is broken."""
    store, writer, reader = MemorySchemaStore(), contract_of(old), contract_of(new)
    store.register(writer, Compatibility.BACKWARD)
    store.register(reader, Compatibility.BACKWARD)
    value = store.frame(writer, writer.encode(writer.payload((), given)))
    args, kwargs = reader.arguments(Decoder(store).decode(reader, value))
    assert (args, kwargs) == ((), read) or (args, kwargs) == (tuple(read.values()), {})


def test_a_renaming_without_an_alias_breaks_the_rule() -> None:
    """The alias is what makes the difference: without it the reader misses its field."""

    def renamed(client: int) -> None: ...

    [missing] = check(contract_of(before).schema, contract_of(renamed).schema, Compatibility.BACKWARD)
    assert missing.field == "client"


def test_an_alias_that_another_field_has_is_refused() -> None:
    """One value cannot belong to two fields, nor can a name that Avro does not allow be written."""

    def doubled(client: Annotated[int, Alias("customer")], customer: int) -> None: ...

    def claimed_twice(client: Annotated[int, Alias("buyer")], payer: Annotated[int, Alias("buyer")]) -> None: ...

    def odd(client: Annotated[int, Alias("the customer")]) -> None: ...

    for function, part in ((doubled, "'customer'"), (claimed_twice, "'buyer'"), (odd, "not a name")):
        with pytest.raises(ContractRefused, match=part):
            contract_of(function)
