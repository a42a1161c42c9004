"""The server's certificate: from two files, and anew when they change. A pair that is broken is told of, and the one before stays."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reconciler.errors import OctofleetError
from reconciler.events import happened

LOOK_S = 1.0
Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The files of a certificate with its chain, and of its key, in PEM."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """What a handshake needs of them: TLS 1.2 or newer. Raises `OctofleetError` that names the file, and nothing of what is in it."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.options |= ssl.OP_NO_RENEGOTIATION
        made.set_alpn_protocols(["http/1.1"])
        for path in (self.certificate, self.key):
            try:
                path.open("rb").close()
            except OSError as error:
                raise OctofleetError(f"cannot read {path}: {error.strerror}", hint=_HINT, code="tls") from error
        try:
            made.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", None) or "it is no certificate or key in PEM, or the key has a password"
            raise OctofleetError(f"{self.certificate} and {self.key} are no pair: {why}", hint=_HINT, code="tls") from error
        return made

    def ends(self) -> datetime:
        """When the certificate is no longer valid. Raises `OctofleetError`."""
        from cryptography import x509  # noqa: PLC0415 - slow to import

        try:
            return x509.load_pem_x509_certificates(self.certificate.read_bytes())[0].not_valid_after_utc
        except (OSError, ValueError) as error:
            raise OctofleetError(f"cannot read the certificate {self.certificate}", hint=_HINT, code="tls") from error

    def stamp(self) -> Stamp:
        """What changes when the files do; empty if one is not there."""
        try:
            found = [path.stat() for path in (self.certificate, self.key)]
        except OSError:
            return ()
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)


_HINT = "correct http.tls_certificate (then those that lead to its root), http.tls_key (without a password), or the files' modes"


def days_left(pair: Pair) -> float:
    """How long the certificate is valid, in days; below 0 if no more."""
    return (pair.ends() - datetime.now(UTC)).total_seconds() / 86_400


class Certificate:
    """What a server shows. `context` is for the server; each handshake takes what was read last. Raises `OctofleetError` if the files are no pair."""

    def __init__(self, pair: Pair) -> None:
        self._pair, self._stamp = pair, pair.stamp()
        self._newest = self.context = pair.context()
        self.context.sni_callback = self._show

    def _show(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        del name, context
        connection.context = self._newest

    async def follow(self) -> None:
        """Look at the files until cancelled. What has just changed is read at the next look, so that two files can be replaced one after the other."""
        changed: Stamp = self._stamp
        while True:
            await asyncio.sleep(LOOK_S)
            now = await asyncio.to_thread(self._pair.stamp)
            if now == changed and now != self._stamp:
                self._stamp = now
                await asyncio.to_thread(self.renew)
            changed = now

    def renew(self) -> None:
        """Read the files again."""
        try:
            self._newest = self._pair.context()
            happened("tls-renewed", until=f"{self._pair.ends():%Y-%m-%d}")
        except OctofleetError as error:
            happened("tls-broken", error=error.message)


def certificate(files: Sequence[str]) -> Certificate | None:
    """Of the two settings; None if they are empty."""
    return Certificate(Pair(certificate=Path(files[0]), key=Path(files[1]))) if any(files) else None
