"""Headers for limits: what a call counts for, and the texts by which limits count it apart."""

from __future__ import annotations

import json
from typing import Any, Final

from ..topology.declaration.job_type import JobCall
from ..topology.declaration.labels import LabelFunction, LabelNotFound
from ..topology.wire import headers as wire
from .errors import OptionRefused

MAX_COST: Final = 999_999_999
MAX_VALUE_CHARS: Final = 256


def limit_headers(call: JobCall) -> wire.HeaderList:
    """Make the headers of a call whose type has any.

    Raises:
        OptionRefused: a function raised, or returned what it must not.
    """
    job_type, found = call.job_type, list[tuple[str, bytes]]()
    if job_type.cost_label is not None:
        found.append((wire.COST, _cost(call, job_type.cost_label)))
    values = {name: _value(call, name, label) for name, label in job_type.limit_labels.items()}
    present = {name: value for name, value in values.items() if value is not None}
    if present:
        found.append((wire.LIMITED_BY, json.dumps(present, separators=(",", ":")).encode()))
    return found


def _cost(call: JobCall, label: LabelFunction) -> bytes:
    cost = _made(call, "cost", label)
    if not isinstance(cost, int) or isinstance(cost, bool) or not 1 <= cost <= MAX_COST:
        reason = f"must be a whole number from 1 to {MAX_COST:,}; it is {cost!r}"
        raise OptionRefused(call.job_type.name, "cost", reason)
    return b"%d" % cost


def _value(call: JobCall, name: str, label: LabelFunction) -> str | None:
    value = _made(call, f"by of limit {name}", label)
    if value is not None and (not isinstance(value, str) or len(value) > MAX_VALUE_CHARS):
        reason = f"must be text of at most {MAX_VALUE_CHARS} characters, or None; it is {value!r:.300}"
        raise OptionRefused(call.job_type.name, f"by of limit {name}", reason)
    return value


def _made(call: JobCall, option: str, label: LabelFunction) -> Any:
    try:
        return label.of(call.args, call.kwargs)
    except LabelNotFound as not_found:
        raise OptionRefused(call.job_type.name, option, not_found.reason) from not_found
