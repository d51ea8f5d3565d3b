"""The settings of a Schema Registry's client that the environment can give, beside its address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REGISTRY_PREFIX: Final = "STOKER_SCHEMA_REGISTRY_"
REGISTRY_OPTIONS: Final = (
    "basic.auth.user.info",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
)
"""A closed list: what else begins with the prefix is none of ours, such as the variables that Kubernetes sets for a
Service named `stoker-schema-registry`."""


def registry_options(values: Mapping[str, str]) -> dict[str, str]:
    """The client's options that the environment sets.

    >>> registry_options({"STOKER_SCHEMA_REGISTRY_SSL_CA_LOCATION": "ca.pem", "STOKER_SCHEMA_REGISTRY_PORT": "8081"})
    {'ssl.ca.location': 'ca.pem'}
    """
    variables = {option: REGISTRY_PREFIX + option.upper().replace(".", "_") for option in REGISTRY_OPTIONS}
    return {option: values[name] for option, name in variables.items() if values.get(name)}
