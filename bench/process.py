"""One process of a measurement: `python process.py '{"does": ...}'`; its last line on stdout is its result."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Final

import bare
import sending
import stages
import working
from part import Part, Result, Say
from sharing import parts as sharing
from sight import traced

READY: Final = "ready"

DOES: Final[dict[str, Callable[[Part, Say], Result]]] = {
    "bulk": sending.bulk,
    "bulk plain": sending.bulk_plain,
    "singly": sending.singly,
    "singly plain": sending.singly_plain,
    "paced": sending.paced,
    "drain": working.drain,
    "drain without events": working.drain_without_events,
    "drain counted": working.drain_counted,
    "drain measured": working.drain_measured,
    "each": traced.enqueue_each,
    "each in a trace": traced.enqueue_each_in_a_trace,
    "each sampled": traced.enqueue_each_sampled,
    "drain sampled": traced.drain_sampled,
    "drain exported": traced.drain_exported,
    "serve": working.serve,
    "stages": stages.carry,
    "drain bare": bare.drain,
    "drain by hand": bare.drain_by_hand,
    "serve bare": bare.serve,
    "fill": sharing.fill,
    "paced urgent": sharing.paced_urgent,
    "small tenants": sharing.small_tenants,
    "note begins": sharing.note_begins,
}


def main() -> None:
    """Do the part, and print its result."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    part = Part.from_json(sys.argv[1])
    result = DOES[part.does](part, lambda: print(READY, flush=True))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
