"""Certificates that are signed by themselves."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def write_pair(directory: Path, name: str = "localhost", *, days: float = 30, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """`server.pem` and `server.key` in a directory, replaced one after the other; also for an IP address."""
    now, key = datetime.datetime.now(datetime.UTC), ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(address))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=90))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = directory / "server.pem", directory / "server.key"
    for path, text in zip(files, (made.public_bytes(serialization.Encoding.PEM), plain), strict=True):
        new = path.with_suffix(".new")
        new.write_bytes(text)
        new.chmod(0o600)
        new.replace(path)
    return files
