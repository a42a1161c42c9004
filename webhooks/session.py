"""HTTP to the server of a forge and to no other: certificates, time limits, redirects, how much of an answer is read.

Only what reads is tried again: a write that got no answer may have been done, and whoever asked for it looks first. Nothing is sent to another origin
than the API's, neither by a redirect nor by a link to the next page.
"""

import asyncio
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from webhooks.forge import Later, Unreadable

CALL_S, CONNECT_S = 30.0, 10.0
"""How long one call may take, and how long of that connecting."""
ANSWER_MOST = 16 << 20
"""Bytes of an answer that are read; what is longer is not as a forge documents it."""
READS = 3
"""How often a read is tried whose connection broke; with so many times `PAUSE_S` between."""
PAUSE_S = 0.2
REDIRECTS = 3
AWAY_S, LATER_MOST_S = 10.0, 3600.0
"""How long a forge is left alone that does not say how long, and at most."""


class Origin:
    """The server of an API below `base`; belongs to the event loop of the first call until it is closed. `call_s`: what one call may take."""

    def __init__(self, base: str, *, ca_file: str = "", call_s: float = CALL_S) -> None:
        self.base, self.call_s, self._ca_file = base.rstrip("/"), call_s, ca_file
        self._session: aiohttp.ClientSession | None = None

    async def exchange(
        self, method: str, url: str, what: str, headers: Mapping[str, str], credentials: Mapping[str, str], body: bytes | None = None
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send it with headers and those that authenticate; gives the answer and its body. A read follows redirects within the origin. Raises `Later`
        where there is no answer, and `Unreadable` for what leads away; `what` is called so there."""
        for _ in range(REDIRECTS + 1):
            if not self._ours(url):
                raise Unreadable(f"{what}: leads away from {self.base}, which is not followed; correct the URL of the forge")
            response, found = await self._sent(method, url, what, headers, credentials, body)
            if response.status not in (301, 302, 303, 307, 308):
                return response, found
            if method != "GET":
                raise Unreadable(f"{what}: it has moved; correct the project or the URL of the forge")
            url = joined(url, response.headers.get("Location", ""))
        raise Unreadable(f"{what}: more than {REDIRECTS} redirects")

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _ours(self, url: str) -> bool:
        try:
            there = URL(url, encoded=True)
            return there.user is None and there.origin() == URL(self.base).origin()
        except ValueError:
            return False

    async def _sent(
        self, method: str, url: str, what: str, headers: Mapping[str, str], credentials: Mapping[str, str], body: bytes | None
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send it, again if it only reads and the connection broke."""
        if self._session is None:
            try:
                self._session = open_session(self._ca_file, self.base)
            except OSError as error:
                raise Later(f"cannot read the certificates of {self._ca_file}: {error.strerror or error}", after_s=60.0) from None
        limit, there = aiohttp.ClientTimeout(total=self.call_s), URL(url, encoded=True)
        for left in reversed(range(READS if method == "GET" else 1)):
            try:
                async with self._session.request(
                    method, there, data=body, headers={**headers, **credentials}, timeout=limit, allow_redirects=False
                ) as response:
                    return response, await body_of(response)
            except TimeoutError:
                raise Later(f"{what}: no answer within {self.call_s:g} s", after_s=AWAY_S) from None
            except (ssl.SSLError, aiohttp.ClientConnectorCertificateError) as error:
                raise Later(f"{what}: {without(credentials, str(error))}; ca_file names whom to trust", after_s=60.0) from None
            except (aiohttp.ClientError, OSError) as error:
                if not left:
                    raise Later(f"{what}: {without(credentials, str(error) or type(error).__name__)}", after_s=AWAY_S) from None
            await asyncio.sleep(PAUSE_S)
        raise AssertionError


def without(credentials: Mapping[str, str], text: str) -> str:
    """A text without the secrets of headers: servers may say again what they were sent."""
    for value in credentials.values():
        for secret in filter(None, (value, value.rpartition(" ")[2])):
            text = text.replace(secret, "***")
    return text


def joined(url: str, there: str) -> str:
    """Where a link leads, absolute; empty if it is none."""
    try:
        return urljoin(url, there)
    except ValueError:
        return ""


def wait_s(headers: Mapping[str, str], unsaid_s: float) -> float:
    """How long a forge wants to be left alone, in seconds; `unsaid_s` where it does not say."""
    retry, reset = headers.get("Retry-After", ""), headers.get("RateLimit-Reset", headers.get("X-RateLimit-Reset", ""))
    if retry.isascii() and retry.isdigit():
        found = float(retry[:9])
    elif retry:
        try:
            found = parsedate_to_datetime(retry).timestamp() - time()
        except (ValueError, OverflowError):
            return unsaid_s
    elif reset.isascii() and reset.isdigit():
        found = float(reset[:12])
        found -= time() if found > 1e9 else 0.0
    else:
        return unsaid_s
    return min(max(found, 1.0), LATER_MOST_S)


def open_session(ca_file: str, url: str) -> aiohttp.ClientSession:
    """Connections to the forge at `url`; in an event loop. `ca_file`: whom to trust in place of whom the system does. Proxies are those of the environment,
    and nothing else is taken from there (a `~/.netrc` would name another token). No cookie is kept: a session would outlive a token."""
    context = ssl.create_default_context(cafile=ca_file or None)
    timeout = aiohttp.ClientTimeout(total=CALL_S, sock_connect=CONNECT_S)
    connector = aiohttp.TCPConnector(ssl=context, limit=8)
    jar = aiohttp.DummyCookieJar()
    return aiohttp.ClientSession(connector=connector, timeout=timeout, proxy=proxy_of(url), cookie_jar=jar)


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for a URL, if any."""
    parts = urlsplit(url)
    return None if not parts.hostname or proxy_bypass(parts.hostname) else getproxies().get(parts.scheme)


async def body_of(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises `Unreadable` if it is longer than any answer should be."""
    found = await response.content.read(ANSWER_MOST + 1)
    while not response.content.at_eof() and len(found) <= ANSWER_MOST:
        found += await response.content.read(ANSWER_MOST + 1 - len(found))
    if len(found) > ANSWER_MOST:
        raise Unreadable(f"the answer is longer than {ANSWER_MOST >> 20} MiB")
    return found
