"""Why brokers do not answer, as far as it can be found from outside: the wrong protocol, name, password or certificate.

Kafka's client reports some of these as "all brokers are down". Its own messages come first; where that leaves the
cause open, the port is asked once how it wants to be spoken to. Nothing but a TLS handshake is ever sent.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable
from typing import Final

from .clients import masked
from .settings import ClusterSettings, ClusterUnreachable

PROBE_TIMEOUT_S: Final = 2.0
_SAYS_NOTHING: Final = ("brokers are down", "Timed out", "Broker transport failure")
_AFTER: Final = re.compile(r" \(after \d+ms in state \w+\)")
_DEFAULT_PORT: Final = 9092

_HINTS: Final = (
    (
        "PLAINTEXT broker listener",
        "this client speaks TLS and the port does not: use the brokers' TLS port, or take TLS out of security.protocol",
    ),
    ("Unsupported SASL mechanism", "set sasl.mechanism to one that the brokers support"),
    (
        "current SASL state",
        "this client wants to log in and the port has no login: use the brokers' SASL port, or take SASL out of "
        "security.protocol",
    ),
    ("uthentication", "the brokers refuse this user or password: fix sasl.username, sasl.password and sasl.mechanism"),
    (
        "certificate required",
        "the brokers want a certificate of this client: set ssl.certificate.location and ssl.key.location",
    ),
    (
        "alert",
        "the brokers refuse this client's certificate: use one that is signed by an authority which they trust",
    ),
    ("resolve", "fix the host's name in the address, or the name service"),
)
"""(part of the client's error, how to fix it), the first one that fits."""


def unreachable(cluster: ClusterSettings, client_errors: Iterable[str]) -> ClusterUnreachable:
    """The error for brokers that do not answer, with the client's error that shows best how to fix it."""
    masked_ones = [_AFTER.sub("", masked(error, cluster.options)) for error in client_errors]
    specific = [error for error in masked_ones if not any(word in error for word in _SAYS_NOTHING)]
    reason = next(iter(specific or masked_ones), "no answer in time")
    if any("certificate verify failed" in error for error in specific):
        return ClusterUnreachable(cluster.bootstrap_servers, *_distrust(cluster, reason))
    known = ((error, fix) for word, fix in _HINTS for error in specific if word in error)
    reason, fix = next(known, (reason, None))
    return ClusterUnreachable(cluster.bootstrap_servers, reason, fix or _ask_port(cluster))


def _distrust(cluster: ClusterSettings, reason: str) -> tuple[str, str]:
    """(reason, how to fix it) of a broker's certificate that this client does not trust."""
    authority = cluster.options.get("ssl.ca.location")
    try:
        trusted = ssl.create_default_context(cafile=None if authority is None else str(authority))
        _handshake(cluster, trusted)
    except ssl.SSLCertVerificationError as failed:
        reason = f"the brokers' certificate: {failed.verify_message}"
        if "match" in failed.verify_message:
            return reason, "use the host name that the certificate is for in the brokers' address"
    except (OSError, ValueError):
        pass
    return reason, "set ssl.ca.location to the certificate of the authority that has signed the brokers'"


def _ask_port(cluster: ClusterSettings) -> str | None:
    """Find the fix for a silence that the client cannot explain; None where the port shows no reason either."""
    protocol = str(cluster.options.get("security.protocol", "plaintext")).upper()
    if "SSL" in protocol:
        return None
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        _handshake(cluster, anyone)
    except ssl.SSLError as spoken:
        wants_certificate = "CERTIFICATE_REQUIRED" in str(spoken)
        return _speaks_tls(protocol) if wants_certificate else _hangs_up(protocol)
    except ConnectionError as closed:
        return None if isinstance(closed, ConnectionRefusedError) else _hangs_up(protocol)
    except (OSError, ValueError):
        return None
    return _speaks_tls(protocol)


def _speaks_tls(protocol: str) -> str:
    wanted = "SASL_SSL" if "SASL" in protocol else "SSL (or SASL_SSL)"
    return f"the port speaks TLS and this client does not: set security.protocol to {wanted}"


def _hangs_up(protocol: str) -> str | None:
    if "SASL" in protocol:
        return None
    return (
        "something listens there and hangs up: if the brokers want a login, set security.protocol and the SASL options"
    )


def _handshake(cluster: ClusterSettings, context: ssl.SSLContext) -> None:
    """Shake hands with the first of the brokers' addresses, for a moment."""
    host, port = _first_address(cluster.bootstrap_servers)
    with socket.create_connection((host, port), PROBE_TIMEOUT_S) as plain:
        plain.settimeout(PROBE_TIMEOUT_S)
        with context.wrap_socket(plain, server_hostname=host):
            pass


def _first_address(servers: str) -> tuple[str, int]:
    first = servers.split(",", maxsplit=1)[0].strip().rpartition("://")[2]
    host, _, port = first.rpartition(":")
    return (host.strip("[]"), int(port)) if host else (first, _DEFAULT_PORT)
