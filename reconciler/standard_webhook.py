"""Sending one message to a webhook, signed as Standard Webhooks 1.0 has it: HMAC-SHA256 over id, time and body, by each of the secrets that hold.

In: the URL, the secrets, and a body. Out: nothing, or an error that names scheme and host and no more. Redirects are not followed: the body was signed for
one receiver.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import ssl
from binascii import Error as NotBase64
from collections.abc import Sequence
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from reconciler.errors import Permanent, RetryLater
from reconciler.loopback import is_loopback

TIMEOUT_S = 30.0
PREFIX = "whsec_"
LEAST, MOST = 24, 64
"""Bytes of a secret."""


def place_of(url: str) -> str:
    """A URL as it may be shown: scheme and host."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or '...'}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "a URL that cannot be read"


def check_url(url: str, *, http_loopback: bool) -> None:
    """Raises `Permanent` for a URL that nothing is sent to."""
    place = place_of(url)
    try:
        parts = urlsplit(url)
        good = parts.hostname and parts.username is None and parts.password is None
    except ValueError:
        good = False
    if not good or parts.scheme not in ("https", "http"):
        raise Permanent(f"{place} is no URL of a webhook", hint="write https://HOST/PATH, without user and password", code="alert-url")
    if parts.scheme == "http" and not (http_loopback and is_loopback(parts.hostname or "")):
        hint = "write https://; alerts.http_loopback of the settings allows http to this machine alone"
        raise Permanent(f"{place} is not encrypted", hint=hint, code="alert-url")


def key_of(secret: str) -> bytes:
    """The key in a secret, `whsec_` and base64. Raises `Permanent`, which does not name it."""
    text = secret.strip()
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else b""
    except NotBase64:
        key = b""
    if not LEAST <= len(key) <= MOST:
        hint = f"write {PREFIX} and base64 of {LEAST} to {MOST} random bytes: echo {PREFIX}$(openssl rand -base64 32)"
        raise Permanent("a secret of a webhook is not as Standard Webhooks has it", hint=hint, code="alert-secret")
    return key


def signed(keys: Sequence[bytes], name: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of a message with this id, at a time in seconds since the epoch."""
    said = f"{name}.{at}.".encode() + body
    signatures = [f"v1,{base64.b64encode(hmac.digest(key, said, hashlib.sha256)).decode()}" for key in keys]
    return {"webhook-id": name, "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


def send(url: str, keys: Sequence[bytes], name: str, at: int, body: bytes, timeout_s: float = TIMEOUT_S) -> None:
    """Send a message. Raises `RetryLater` if it did not arrive, or may not have."""
    import aiohttp  # noqa: PLC0415 - slow to import, and not always asked for

    place, headers = place_of(url), {"Content-Type": "application/json", "User-Agent": "octofleet"} | signed(keys, name, at, body)
    try:
        status = asyncio.run(_status(url, headers, body, timeout_s))
    except TimeoutError:
        raise RetryLater(f"{place} did not take a message within {timeout_s:g} s", code="alert-failed") from None
    except (aiohttp.ClientError, OSError, ValueError):
        text = f"{place} did not take a message: it could not be reached, or broke the connection off"
        raise RetryLater(text, code="alert-failed") from None
    if not 200 <= status < 300:
        raise RetryLater(f"{place} did not take a message: it answered {status}", code="alert-failed")


async def _status(url: str, headers: dict[str, str], body: bytes, timeout_s: float) -> int:
    """Proxies and certificates are those of the environment, as for other receivers; nothing else of it is sent (`.netrc`)."""
    import aiohttp  # noqa: PLC0415

    parts = urlsplit(url)
    proxy = None if is_loopback(parts.hostname or "") or proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    trusted = ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE") or None)
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    connector = aiohttp.TCPConnector(ssl=trusted)
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False) as session,
        session.post(url, data=body, headers=headers, allow_redirects=False, proxy=proxy) as answer,
    ):
        return answer.status
