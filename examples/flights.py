"""The pipeline of the demo, and a model of how one is written: passengers' claims for delayed flights.

Each departure from New York is a job. A plane's flights are assessed in their order, planes beside each other.

    stoker -A examples.flights:pipeline topology apply
    stoker -A examples.flights:pipeline worker --processes 2
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Final

from examples.claims import Claim, book_claim
from examples.flight import Flight
from stoker.consumers import current_job_or_none
from stoker.topology import Pipeline, RetryPolicy
from stoker.topology.declaration.pipeline import QueueShape

NAMESPACE: Final = os.environ.get("FLIGHTS_NAMESPACE", "flights")
SESSION_TIMEOUT: Final = timedelta(seconds=float(os.environ.get("FLIGHTS_SESSION_TIMEOUT_S", "5")))
"""How soon a killed worker is missed. Kafka's default is 45 s, and most clusters allow no less; set it there."""
LONG_DELAY_MINUTES: Final = 180
KM_PER_MILE: Final = 1.609344
BANDS: Final = ((1_500, 250), (3_500, 400))
"""(flights up to so many km, euros for each passenger); further ones pay FARTHEST_EUR."""
FARTHEST_EUR: Final = 600

QUEUE: Final[QueueShape] = {
    "partitions": 6,
    # Seconds, so that one may watch; where an outage is to be survived, minutes and hours are right.
    "tiers": (timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=4)),
    "retry": RetryPolicy(attempts=4),
    "timeout": timedelta(seconds=30),
    "session_timeout": SESSION_TIMEOUT,
    "owner": "passenger-rights",
    "description": "flights whose claims are to be assessed",
}


pipeline = Pipeline(NAMESPACE, description="passengers' claims for delayed flights")
assessments = pipeline.queue("assessments", **QUEUE)


def plane_of(flight: Flight) -> str | None:
    """The ordering key: a plane's flights stay in their order."""
    return flight.tailnum


@pipeline.job(assessments, key=plane_of)
def assess_claim(flight: Flight) -> None:
    """Assess what each passenger of a flight may claim, and book it."""
    if flight.tailnum is None:
        raise ValueError("the flight has no tail number")
    if flight.dep_time is None:
        raise ValueError("the flight has no departure time")
    if flight.arr_delay is None:
        raise ValueError("the flight has no arrival delay")
    book_verdict(flight, *delay_verdict(flight, flight.arr_delay))


def delay_verdict(flight: Flight, arr_delay: int) -> tuple[str, int]:
    """Say what the passengers may claim for a delay: (verdict, euros).

    The rule, after EU regulation 261/2004 and simpler: who arrives three hours late or later is owed 250 euros for up
    to 1,500 km, 400 for up to 3,500 km, 600 beyond.
    """
    if arr_delay < LONG_DELAY_MINUTES:
        return "in time", 0
    return "late", compensation_eur(flight.distance)


def compensation_eur(distance_miles: int) -> int:
    """What a passenger is owed.

    >>> compensation_eur(200), compensation_eur(1_400), compensation_eur(4_983)
    (250, 400, 600)
    """
    distance_km = distance_miles * KM_PER_MILE
    return next((amount for up_to_km, amount in BANDS if distance_km <= up_to_km), FARTHEST_EUR)


def book_verdict(flight: Flight, verdict: str, amount_eur: int) -> None:
    """Book a flight's claim; again, when the job runs again, which changes nothing."""
    job = current_job_or_none()  # none where the function is called directly, as a test would
    book_claim(
        Claim(
            flight_id=flight.flight_id,
            flown_on=flight.flown_on,
            carrier=flight.carrier,
            flight=flight.flight,
            origin=flight.origin,
            departs=flight.sched_dep_time,
            tailnum=flight.tailnum,
            verdict=verdict,
            amount_eur=amount_eur,
            attempt=job.attempt if job else 1,
            replay=job.replay_id if job else None,
        )
    )
