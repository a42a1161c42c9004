"""What is refused before any route has a say, or where none is: as problem details or as a page, like everything else that is refused; and the headers
that every answer has."""

import re

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from reconciler.errors import OctofleetError, Refused, RetryLater
from reconciler.events import Repeated
from reconciler.server.answer import Answer, refusal
from reconciler.server.proxies import is_https
from reconciler.server.written import HEADERS, written

HSTS = "max-age=31536000"
"""A year, as RFC 6797 has it."""
SAID = {
    400: ("request", "the request cannot be read", "send HTTP/1.1 as RFC 9112 has it"),
    403: ("forbidden", "this may not be read", "go by the links of the pages"),
    404: ("no-page", "there is nothing at this address", "GET /api/v1/openapi.json lists every route"),
    405: ("method", "this address does not take this method", "the header Allow names those that it takes"),
    408: ("slow-request", "the request did not arrive in time", "send it again, and without pauses"),
    413: ("too-large", "the body is too large", "send less"),
    414: ("long-address", "the address is too long", "send less in the query"),
    417: ("expectation", "the header Expect asks for what is not there", "leave it out"),
    431: ("large-headers", "the headers are too large, or too many", "send less, or fewer cookies"),
}
PEOPLE = {404: "check the address, or go on from the overview"}
"""What is told instead to whoever reads it in a browser."""
_SECRET = re.compile(r"[A-Za-z0-9_-]{40,}")
_trouble = Repeated()


def problem_of(status: int, *, people: bool = False) -> OctofleetError:
    """What a status of HTTP's own says, as an error with a code."""
    code, text, hint = SAID.get(status, SAID[400])
    return Refused(text, hint=PEOPLE.get(status, hint) if people else hint, code=code)


def full() -> OctofleetError:
    """There is no room."""
    return RetryLater(
        "the server has no room for more connections of this client, or at all", after_s=5, hint="try again later", code="busy"
    )


def told(request: web.BaseRequest, error: Exception) -> web.Response:
    """An error as whoever asked reads it."""
    answer = written(refusal(error, people=_people(request)))
    _head(request, answer)
    return answer


def told_of(request: web.BaseRequest, error: web.HTTPException) -> web.Response:
    """An error that aiohttp made, as the others are; the headers that it needs stay."""
    answer = told(request, problem_of(error.status, people=_people(request)))
    answer.set_status(error.status)
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


def is_aiohttps(error: web.HTTPException) -> bool:
    """Whether aiohttp made it, and not a handler that says something of its own."""
    own = isinstance(error, web.HTTPRequestEntityTooLarge | web.HTTPExpectationFailed)
    return own or (error.status >= 400 and error.text == f"{error.status}: {error.reason}")


def unreadable(error: BaseException | None, line: int) -> OctofleetError:
    """Why a request could not be read; `line` is what its first line may have."""
    if isinstance(error, LineTooLong):
        return problem_of(414 if str(line) in map(str, error.args[1:2]) else 431)
    if isinstance(error, BadHttpMessage) and "Too many headers" in error.message:
        return problem_of(431)
    return problem_of(400)


def unforeseen(path: str, error: BaseException) -> None:
    """Told to the log, and to nobody else; of the path no part that is as long as the secret of a one-time link."""
    _trouble.happened("request-failed", route=_SECRET.sub("***", path), error=f"{type(error).__name__}: {error}")


async def add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """To be called before any answer of an application is sent."""
    if isinstance(response, web.FileResponse):
        response.headers["Cache-Control"] = "private, no-cache"
    _head(request, response)


def _people(request: web.BaseRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "")


def _head(request: web.BaseRequest, response: web.StreamResponse) -> None:
    for name, text in HEADERS.items():
        response.headers.setdefault(name, text)
    response.headers["Server"] = "octofleet"
    if is_https(request):
        response.headers["Strict-Transport-Security"] = HSTS


def as_bytes(error: OctofleetError) -> bytes:
    """A whole answer to a connection that has sent no request that could be read."""
    found: Answer = refusal(error, people=False)
    reason = {408: "Request Timeout", 503: "Service Unavailable"}[found.status]
    headers = HEADERS | dict(found.headers) | {"Content-Type": found.kind, "Content-Length": str(len(found.body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {found.status} {reason}", "Server: octofleet", *(f"{name}: {text}" for name, text in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + found.body
