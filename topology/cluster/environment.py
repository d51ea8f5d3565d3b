"""Environment variables that were not set for Stoker: Kubernetes makes some for every Service of a namespace.

A Service `stoker-kafka` makes `STOKER_KAFKA_PORT_9092_TCP_PROTO` and the like in each container that is started after
it. No setting of Stoker has a name of their form.
"""

from __future__ import annotations

import re
from typing import Final

_OF_A_SERVICE: Final = re.compile(
    r"\w+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def is_of_a_service(variable: str) -> bool:
    """Whether the variable has a name that Kubernetes gives to those of a Service.

    >>> is_of_a_service("STOKER_KAFKA_PORT_9092_TCP_PROTO"), is_of_a_service("STOKER_KAFKA_SASL_MECHANISM")
    (True, False)
    """
    return _OF_A_SERVICE.fullmatch(variable) is not None
