"""A certificate authority of the tests' own: a server's certificate for the loopback address, and a client's."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

CLIENT_NAME = "till-17"
CLIENT_PRINCIPAL = f"User:CN={CLIENT_NAME}"


@dataclass(frozen=True, slots=True)
class Authority:
    """The files of an authority in a folder."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The certificate that signs the others."""
        return self.folder / "ca.pem"

    @property
    def server_store(self) -> Path:
        """The server's key and certificate in one file, as Kafka wants them."""
        return self.folder / "server.pem"

    @property
    def client_certificate(self) -> Path:
        """The client's certificate."""
        return self.folder / "client.pem"

    @property
    def client_key(self) -> Path:
        """The client's key."""
        return self.folder / "client.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issued:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_bytes(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def certificate_bytes(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def make_authority(folder: Path) -> Authority:
    """Write a new authority's files; its server is the loopback address, not the name `localhost`."""
    files = Authority(folder)
    root = _issue("Tests", None, is_ca=True)
    server = _issue("broker", root, names=[x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    client = _issue(CLIENT_NAME, root)
    files.ca.write_bytes(root.certificate_bytes)
    files.server_store.write_bytes(server.key_bytes + server.certificate_bytes + root.certificate_bytes)
    files.client_certificate.write_bytes(client.certificate_bytes)
    files.client_key.write_bytes(client.key_bytes)
    return files


def _issue(
    common_name: str, issuer: _Issued | None, *, is_ca: bool = False, names: Iterable[x509.GeneralName] = ()
) -> _Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    draft = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if names:
        draft = draft.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _Issued(key=key, certificate=draft.sign(issuer.key if issuer else key, hashes.SHA256()))
