"""How `stoker topology rights` prints what each duty must be allowed to do."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from .app import AppContext
from .output import print_table

if TYPE_CHECKING:
    from ...topology.planning.rights import Duty, Right


def chosen_rights(app: AppContext, duties: Sequence[str], queues: Sequence[str]) -> dict[str, list[Right]]:
    """{duty: its rights}, of those that are named, or all."""
    from ...topology.cluster.settings import REGISTRY_VARIABLE
    from ...topology.planning.rights import Duty, rights_for

    chosen = [app.pipeline.find_queue(name) for name in queues] or None
    wanted = [_duty(name) for name in duties] or list(Duty)
    with_schemas = not (app.schema_registry_url or os.environ.get(REGISTRY_VARIABLE))
    return {duty.value: rights_for(duty, app.pipeline, chosen, with_schemas=with_schemas) for duty in wanted}


def _duty(name: str) -> Duty:
    from ...topology.planning.rights import Duty

    try:
        return Duty(name)
    except ValueError:
        near = difflib.get_close_matches(name, list(Duty), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(Duty)}."
        raise click.BadParameter(f"{name!r} is no duty; {hint}", param_hint="--duty") from None


def print_rights(found: Mapping[str, Sequence[Right]]) -> None:
    """Print a table, a row for each resource; a star ends the beginning of names."""
    rows = [
        (duty, ", ".join(right.operation for right in rights), where)
        for duty, all_of_it in found.items()
        for where, rights in _by_resource(all_of_it).items()
    ]
    print_table(("PART", "OPERATIONS", "ON"), rows)


def commands(found: Mapping[str, Sequence[Right]], principal: str) -> Iterator[str]:
    """Commands that grant the rights, one for each resource, each once."""
    every = list(dict.fromkeys(right for rights in found.values() for right in rights))
    for rights in _by_resource(every).values():
        first = rights[0]
        operations = " ".join(f"--operation {right.operation}" for right in rights)
        pattern = " --resource-pattern-type prefixed" if first.is_prefix else ""
        target = "--cluster" if first.resource == "cluster" else f"--{first.resource} {first.name}{pattern}"
        yield (
            'kafka-acls.sh --bootstrap-server "$STOKER_BOOTSTRAP_SERVERS" --add --allow-principal '
            f"'{principal}' {operations} {target}"
        )


def _by_resource(rights: Sequence[Right]) -> dict[str, list[Right]]:
    grouped: dict[str, list[Right]] = {}
    for right in rights:
        grouped.setdefault(right.where, []).append(right)
    return grouped
