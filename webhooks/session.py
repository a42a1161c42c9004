"""HTTP connections to a forge: certificates, time limits, how much of an answer is read."""

import ssl

import aiohttp

from webhooks.forge import Unreadable

CALL_S, CONNECT_S = 30.0, 10.0
"""How long one call may take, and how long of that connecting."""
ANSWER_MOST = 16 << 20
"""Bytes of an answer that are read; what is longer is not as a forge documents it."""


def open_session(ca_file: str) -> aiohttp.ClientSession:
    """Connections to one forge; in an event loop. `ca_file`: whom to trust in place of whom the system does. Proxies are those of the environment."""
    context = ssl.create_default_context(cafile=ca_file or None)
    timeout = aiohttp.ClientTimeout(total=CALL_S, sock_connect=CONNECT_S)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=8), timeout=timeout, trust_env=True)


async def body_of(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises `Unreadable` if it is longer than any answer should be."""
    found = await response.content.read(ANSWER_MOST + 1)
    while not response.content.at_eof() and len(found) <= ANSWER_MOST:
        found += await response.content.read(ANSWER_MOST + 1 - len(found))
    if len(found) > ANSWER_MOST:
        raise Unreadable(f"the answer is longer than {ANSWER_MOST >> 20} MiB")
    return found
