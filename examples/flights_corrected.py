"""The next release of `flights.py`: it knows what flights without a departure, a plane or an arrival are.

Queue, job type and contract are the same, so it works on what the first release left behind.
"""

from __future__ import annotations

from examples.flight import Flight
from examples.flights import NAMESPACE, QUEUE, book_verdict, compensation_eur, delay_verdict, plane_of
from stoker.topology import Pipeline

pipeline = Pipeline(NAMESPACE, description="passengers' claims for delayed and cancelled flights")
assessments = pipeline.queue("assessments", **QUEUE)


@pipeline.job(assessments, key=plane_of)
def assess_claim(flight: Flight) -> None:
    """Assess what each passenger of a flight may claim, and book it; not to arrive counts as a long delay."""
    if flight.dep_time is None:
        book_verdict(flight, "cancelled", compensation_eur(flight.distance))
    elif flight.arr_delay is None:
        book_verdict(flight, "diverted", compensation_eur(flight.distance))
    else:
        book_verdict(flight, *delay_verdict(flight, flight.arr_delay))
