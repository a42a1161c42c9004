"""HTTP to a forge's API: the credentials in one header, answers as typed values, what went wrong as the exceptions of `forge`.

Only what reads is tried again: a write that got no answer may have been done, and whoever asked for it looks first. Nothing is sent to another origin
than the API's, neither by a redirect nor by a link to the next page.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from time import time
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urljoin

import aiohttp
import msgspec
from yarl import URL

from webhooks.forge import Denied, Gone, Later, Unreadable
from webhooks.session import CALL_S, body_of, open_session

T = TypeVar("T")
Query = Mapping[str, str | int]
READS = 3
"""How often a read is tried whose connection broke; with so many times `PAUSE_S` between."""
PAUSE_S = 0.2
REDIRECTS = 3
PAGES = 200
LATER_MOST_S = 3600.0
KEPT, KEPT_BYTES = 256, 1 << 20
"""Answers that are kept for conditional reads, and how long one may be."""


class Conflict(Later):
    """Somebody else has changed it meanwhile (409)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: the headers in lower case; `next`, the next page that the header `Link` names."""

    what: str
    headers: Mapping[str, str]
    body: bytes
    next: str = ""

    def read(self, kind: type[T]) -> T:
        """The body as a value. Raises `Unreadable`."""
        return decoded(self.body, kind, f"the answer to {self.what}")


def decoded(body: bytes, kind: type[T], what: str) -> T:
    """JSON as a value of a msgspec type; numbers may be written as text. Raises `Unreadable` naming `what`."""
    try:
        found: T = _decoder(kind).decode(body)  # type: ignore[arg-type]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(f"{what} is not as documented: {error}") from None
    return found


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=False)


def path_of(*parts: str | int) -> str:
    """A path whose parts are escaped each, slashes too. Raises `Gone` for one that would lead elsewhere: nothing is called so."""
    if not {"", ".", ".."}.isdisjoint(parts):
        raise Gone(f"there is nothing at {'/'.join(map(str, parts))}")
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


class Http:
    """An API below `base`. `credentials` gives the headers that authenticate, each time; belongs to the event loop of the first call."""

    def __init__(self, base: str, credentials: Callable[[], Mapping[str, str]], *, ca_file: str = "", call_s: float = CALL_S) -> None:
        self.base = base.rstrip("/")
        self.credentials, self._ca_file, self._call_s = credentials, ca_file, call_s
        self._session: aiohttp.ClientSession | None = None
        self._kept: OrderedDict[str, tuple[str, Answer]] = OrderedDict()

    async def get(self, path: str, kind: type[T], **query: str | int) -> T:
        """Read one thing."""
        return (await self.call("GET", path, query=query)).read(kind)

    async def pages(self, path: str, kind: type[T], following: Callable[[Answer, T], str | Query], **query: str | int) -> AsyncIterator[T]:
        """Read a list, page by page. `following` gives the URL of the page after this one, or what its query has besides; empty at the end."""
        answer = await self.call("GET", path, query=query)
        for _ in range(PAGES):
            page = answer.read(kind)
            yield page
            if not (there := following(answer, page)):
                return
            path, query = (_joined(self._url(path, None), there), {}) if isinstance(there, str) else (path, {**query, **there})
            answer = await self.call("GET", path, query=query)
        raise Unreadable(f"GET {path}: more than {PAGES} pages")

    async def call(self, method: str, path: str, *, query: Query | None = None, json: object = None) -> Answer:
        """One call; `path` is below the base, or a whole URL of its origin. Raises `Gone`, `Later`, `Denied` and `Unreadable`."""
        url = self._url(path, query)
        what = f"{method} {path.partition('?')[0]}"
        for _ in range(REDIRECTS + 1):
            if not self._ours(url):
                raise Unreadable(f"{what}: leads away from {self.base}, which is not followed; correct the URL of the forge")
            kept = self._kept.get(url) if method == "GET" else None
            response, body = await self._sent(method, url, json, what, kept[0] if kept else "")
            if response.status == 304 and kept:
                return kept[1]
            if response.status in (301, 302, 303, 307, 308):
                if method != "GET":
                    raise Unreadable(f"{what}: it has moved; correct the project or the URL of the forge")
                url = _joined(url, response.headers.get("Location", ""))
                continue
            self._refuse(response, body, what)
            return self._keep(url, method, response, body, what)
        raise Unreadable(f"{what}: more than {REDIRECTS} redirects")

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _url(self, path: str, query: Query | None) -> str:
        url = path if "://" in path.partition("?")[0] else self.base + path
        return f"{url}?{urlencode(query)}" if query else url

    def _ours(self, url: str) -> bool:
        try:
            there = URL(url, encoded=True)
            return there.user is None and there.origin() == URL(self.base).origin()
        except ValueError:
            return False

    async def _sent(self, method: str, url: str, json: object, what: str, etag: str) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send it, again if it only reads and the connection broke."""
        if self._session is None:
            try:
                self._session = open_session(self._ca_file, self.base)
            except OSError as error:
                raise Later(f"cannot read the certificates of {self._ca_file}: {error.strerror or error}", after_s=60.0) from None
        headers = {"Accept": "application/json", "User-Agent": "octofleet", **self.credentials()}
        body = None if json is None else msgspec.json.encode(json)
        if body is not None:
            headers["Content-Type"] = "application/json"
        if etag:
            headers["If-None-Match"] = etag
        limit = aiohttp.ClientTimeout(total=self._call_s)
        for left in reversed(range(READS if method == "GET" else 1)):
            try:
                async with self._session.request(
                    method, URL(url, encoded=True), data=body, headers=headers, timeout=limit, allow_redirects=False
                ) as response:
                    return response, await body_of(response)
            except TimeoutError:
                raise Later(f"{what}: no answer within {self._call_s:g} s") from None
            except (ssl.SSLError, aiohttp.ClientConnectorCertificateError) as error:
                raise Later(f"{what}: {self._without_secrets(str(error))}; ca_file names whom to trust", after_s=60.0) from None
            except (aiohttp.ClientError, OSError) as error:
                if not left:
                    raise Later(f"{what}: {self._without_secrets(str(error) or type(error).__name__)}") from None
            await asyncio.sleep(PAUSE_S)
        raise AssertionError

    def _refuse(self, response: aiohttp.ClientResponse, body: bytes, what: str) -> None:
        """Raise what an answer that is none says."""
        status = response.status
        if 200 <= status < 300:
            return
        text = f"{what}: {status}{self._said(body)}"
        after_s = _after_s(response.headers)
        if status in (408, 425, 429) or status >= 500 or (status == 403 and "Retry-After" in response.headers):
            raise Later(text, after_s=after_s)
        if status == 409:
            raise Conflict(text, after_s=after_s)
        if status in (401, 403, 407):
            raise Denied(text)
        if status in (404, 410):
            raise Gone(text)
        raise Unreadable(text)

    def _said(self, body: bytes) -> str:
        """What the forge says of an error, as one short line; none if it is no JSON."""
        try:
            found = msgspec.json.decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return ""
        known = [found.get(name) for name in ("error", "message", "errors", "error_description")] if isinstance(found, dict) else []
        line = " ".join(str(item) for item in known if item)
        return f" {self._without_secrets(' '.join(line.split()))[:200]}" if line.isprintable() and line else ""

    def _without_secrets(self, text: str) -> str:
        """Servers may say again what they were sent."""
        for value in self.credentials().values():
            for secret in {value, value.rpartition(" ")[2]} - {""}:
                text = text.replace(secret, "***")
        return text

    def _keep(self, url: str, method: str, response: aiohttp.ClientResponse, body: bytes, what: str) -> Answer:
        """Remember an answer under its ETag, as long as there is room."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(what=what, headers=headers, body=body, next=_next(response))
        self._kept.pop(url, None)
        if method == "GET" and "etag" in headers and len(body) <= KEPT_BYTES:
            self._kept[url] = headers["etag"], answer
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return answer


def _next(response: aiohttp.ClientResponse) -> str:
    """The link to the next page, empty if there is none. Raises `Unreadable`: no page is left out in silence."""
    try:
        found = response.links.get("next")
    except ValueError:
        raise Unreadable("the header Link is not as documented") from None
    return str(found["url"]) if found else ""


def _joined(url: str, there: str) -> str:
    """Where a link leads, absolute; empty if it is none."""
    try:
        return urljoin(url, there)
    except ValueError:
        return ""


def _after_s(headers: Mapping[str, str]) -> float:
    """How long a forge wants to be left alone, in seconds."""
    retry, reset = headers.get("Retry-After", ""), headers.get("RateLimit-Reset", headers.get("X-RateLimit-Reset", ""))
    found = 10.0
    if retry.isascii() and retry.isdigit():
        found = float(retry[:9])
    elif retry:
        try:
            found = parsedate_to_datetime(retry).timestamp() - time()
        except (ValueError, OverflowError):
            found = 10.0
    elif reset.isascii() and reset.isdigit():
        found = float(reset[:12])
        found -= time() if found > 1e9 else 0.0
    return min(max(found, 1.0), LATER_MOST_S)
