"""HTTP to a forge's API: the credentials in one header, answers as typed values, what went wrong as the exceptions of `forge`."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from webhooks import session
from webhooks.forge import Denied, Gone, Later, Unreadable
from webhooks.session import CALL_S, Origin, joined, wait_s, without

T = TypeVar("T")
Query = Mapping[str, str | int]
PAGES = 200
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


def decoded(body: bytes, kind: type[T], what: str, *, strict: bool = False) -> T:
    """JSON as a value of a msgspec type; numbers may be written as text unless `strict`. Raises `Unreadable` naming `what`."""
    try:
        found: T = _decoder(kind, strict).decode(body)  # type: ignore[arg-type]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(f"{what} is not as documented: {error}") from None
    return found


@lru_cache(maxsize=256)
def _decoder(kind: Any, strict: bool) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=strict)


def path_of(*parts: str | int) -> str:
    """A path whose parts are escaped each, slashes too. Raises `Gone` for one that would lead elsewhere: nothing is called so."""
    if not {"", ".", ".."}.isdisjoint(parts):
        raise Gone(f"there is nothing at {'/'.join(map(str, parts))}")
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


class Http:
    """An API below `base`. `credentials` gives the headers that authenticate, each time; belongs to the event loop of the first call."""

    def __init__(self, base: str, credentials: Callable[[], Mapping[str, str]], *, ca_file: str = "", call_s: float = CALL_S) -> None:
        self.credentials, self.origin = credentials, Origin(base, ca_file=ca_file, call_s=call_s)
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
            path, query = (joined(self._url(path, None), there), {}) if isinstance(there, str) else (path, {**query, **there})
            answer = await self.call("GET", path, query=query)
        raise Unreadable(f"GET {path}: more than {PAGES} pages")

    async def call(self, method: str, path: str, *, query: Query | None = None, json: object = None) -> Answer:
        """One call; `path` is below the base, or a whole URL of its origin. Raises `Gone`, `Later`, `Denied` and `Unreadable`."""
        url, what = self._url(path, query), f"{method} {path.partition('?')[0]}"
        headers, body = {"Accept": "application/json", "User-Agent": "octofleet"}, None
        if json is not None:
            headers["Content-Type"], body = "application/json", msgspec.json.encode(json)
        kept = self._kept.get(url) if method == "GET" else None
        if kept:
            headers["If-None-Match"] = kept[0]
        response, found = await self.origin.exchange(method, url, what, headers, self.credentials(), body)
        if response.status == 304 and kept:
            return kept[1]
        self._refuse(response, found, what)
        return self._keep(url, method, response, found, what)

    async def close(self) -> None:
        """Let go of connections."""
        await self.origin.close()

    def _url(self, path: str, query: Query | None) -> str:
        url = path if "://" in path.partition("?")[0] else self.origin.base + path
        return f"{url}?{urlencode(query)}" if query else url

    def _refuse(self, response: aiohttp.ClientResponse, body: bytes, what: str) -> None:
        """Raise what an answer that is none says."""
        status = response.status
        if 200 <= status < 300:
            return
        text = f"{what}: {status}{self._said(body)}"
        after_s = wait_s(response.headers, session.AWAY_S)
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
        return f" {without(self.credentials(), ' '.join(line.split()))[:200]}" if line.isprintable() and line else ""

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


def linked(answer: Answer, page: object) -> str:
    """For `Http.pages`, where the header `Link` names the next page."""
    del page
    return answer.next


def _next(response: aiohttp.ClientResponse) -> str:
    """The link to the next page, empty if there is none. Raises `Unreadable`: no page is left out in silence."""
    try:
        found = response.links.get("next")
    except ValueError:
        raise Unreadable("the header Link is not as documented") from None
    return str(found["url"]) if found else ""
