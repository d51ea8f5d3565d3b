"""Faust's credentials from the application's own connection options, which are those of librdkafka. Knows no Faust."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ...topology.cluster.settings import Option

MECHANISMS: Final = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"})
_FALSE: Final = frozenset({"false", "f", "0"})


class NoSuchConnection(Exception):
    """Faust's client cannot connect in the way that the options ask for."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"statistics cannot connect with {what}: Faust's client knows TLS, and SASL with "
            f"{', '.join(sorted(MECHANISMS))}; give `stoker statistics run` a listener and a user of these"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAccess:
    """How to connect.

    Attributes:
        tls: None for a connection without.
        mechanism, username, password: of SASL; empty without.
    """

    tls: ssl.SSLContext | None = None
    mechanism: str = ""
    username: str = ""
    password: str = ""


def broker_access(options: Mapping[str, Option]) -> BrokerAccess:
    """Read the options of a connection; those that are about something else do not matter.

    Raises:
        NoSuchConnection: they ask for what Faust's client does not know.
        OSError, ssl.SSLError: a certificate or key cannot be read.
    """
    protocol = str(options.get("security.protocol", "plaintext")).lower()
    tls = _tls(options) if protocol in ("ssl", "sasl_ssl") else None
    if not protocol.startswith("sasl"):
        return BrokerAccess(tls=tls)
    mechanism = str(options.get("sasl.mechanism", options.get("sasl.mechanisms", "GSSAPI"))).upper()
    if mechanism not in MECHANISMS:
        raise NoSuchConnection(f"sasl.mechanism={mechanism}")
    return BrokerAccess(
        tls=tls,
        mechanism=mechanism,
        username=str(options.get("sasl.username", "")),
        password=str(options.get("sasl.password", "")),
    )


def _tls(options: Mapping[str, Option]) -> ssl.SSLContext:
    if "ssl.keystore.location" in options:
        raise NoSuchConnection("ssl.keystore.location")
    authority = options.get("ssl.ca.pem")
    context = ssl.create_default_context(
        cafile=_path(options, "ssl.ca.location"), cadata=None if authority is None else str(authority)
    )
    if str(options.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    if str(options.get("enable.ssl.certificate.verification", "true")).lower() in _FALSE:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate = _path(options, "ssl.certificate.location")
    if "ssl.certificate.pem" in options:
        raise NoSuchConnection("ssl.certificate.pem, a certificate that is not in a file")
    if certificate is not None:
        password = options.get("ssl.key.password")
        key = _path(options, "ssl.key.location")
        context.load_cert_chain(certificate, key, None if password is None else str(password))
    return context


def _path(options: Mapping[str, Option], name: str) -> str | None:
    value = options.get(name)
    return None if value is None else str(value)
