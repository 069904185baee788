"""A member's certificate: self-signed, for its tickets name its fingerprint and nobody else is to trust it."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from totemd.errors import MachineError
from totemd.shell.state import read_file, replace_file

CERTIFICATE_FILE: Final = "join_certificate.pem"
"""In the state directory: key and certificate; mode 0600."""

FILE_SIZE_MAX: Final = 65536


def open_certificate(state_dir: Path, name: str) -> tuple[ssl.SSLContext, bytes]:
    """The server's TLS settings, and its certificate's SHA-256; made if there is none. Blocks. MachineError."""
    file = state_dir / CERTIFICATE_FILE
    data = read_file(file, FILE_SIZE_MAX)
    if data is None or not _is_usable(data):
        data = _made(name)
        replace_file(file, data, 0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Each ticket is for its own conversation; sessions that could be taken up again would only be kept.
    context.num_tickets = 0
    try:
        context.load_cert_chain(file)
    except (ssl.SSLError, OSError) as error:
        raise MachineError(f"{file} cannot be used: {error}; remove it, and another one is made") from error
    return context, fingerprint(data)


def fingerprint(pem: bytes) -> bytes:
    """SHA-256 of the certificate in `pem`."""
    text = pem.decode("ascii")
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return sha256(ssl.PEM_cert_to_DER_cert(text[begin:])).digest()


def _is_usable(pem: bytes) -> bool:
    try:
        fingerprint(pem)
    except ValueError:
        return False
    return True


def _made(name: str) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64] or "totemd")])
    # Nobody looks at the dates: a ticket says for how long it may be used.
    begin = datetime.now(UTC) - timedelta(days=365)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(os.urandom(16), "big") | 1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=100 * 365))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret + certificate.public_bytes(serialization.Encoding.PEM)
