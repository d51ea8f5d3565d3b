"""Faust connects as the application does, or it is said at the start that it cannot."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from stoker.operations.statistics.broker_options import BrokerAccess, NoSuchConnection, broker_access
from support.kafka.authority import make_authority


def test_passwords_and_certificates_are_taken_from_the_connections_options(tmp_path: Path) -> None:
    """Under the names that librdkafka has for them."""
    assert broker_access({"client.id": "x"}) == BrokerAccess()
    login = {"sasl.mechanisms": "scram-sha-512", "sasl.username": "ada", "sasl.password": "secret"}
    assert broker_access({**login, "security.protocol": "SASL_PLAINTEXT"}) == BrokerAccess(
        mechanism="SCRAM-SHA-512", username="ada", password="secret"
    )
    authority = make_authority(tmp_path)
    files = {
        "ssl.ca.location": str(authority.ca),
        "ssl.certificate.location": str(authority.client_certificate),
        "ssl.key.location": str(authority.client_key),
    }
    tls = broker_access({**files, "security.protocol": "ssl"}).tls
    assert tls is not None
    assert (tls.check_hostname, tls.verify_mode) == (True, ssl.CERT_REQUIRED)
    lax = {**files, "security.protocol": "sasl_ssl", "ssl.endpoint.identification.algorithm": "none", **login}
    access = broker_access(lax)
    assert access.tls is not None
    assert (access.tls.check_hostname, access.mechanism) == (False, "SCRAM-SHA-512")


@pytest.mark.parametrize(
    "options",
    [
        {"security.protocol": "sasl_plaintext", "sasl.mechanism": "OAUTHBEARER"},
        {"security.protocol": "sasl_ssl"},
        {"security.protocol": "ssl", "ssl.keystore.location": "keys.p12"},
        {"security.protocol": "ssl", "ssl.certificate.pem": "-----BEGIN"},
    ],
)
def test_what_fausts_client_does_not_know_is_refused(options: dict[str, str]) -> None:
    """Without a mechanism, librdkafka takes GSSAPI."""
    with pytest.raises(NoSuchConnection, match="statistics cannot connect with"):
        broker_access(options)
