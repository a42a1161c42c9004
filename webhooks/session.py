"""HTTP connections to a forge: certificates, time limits, how much of an answer is read."""

import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from webhooks.forge import Unreadable

CALL_S, CONNECT_S = 30.0, 10.0
"""How long one call may take, and how long of that connecting."""
ANSWER_MOST = 16 << 20
"""Bytes of an answer that are read; what is longer is not as a forge documents it."""


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
