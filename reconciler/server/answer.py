"""From what came in one request to what is answered: who asks, whether he may, what he gets. Synchronous, in one thread; knows no HTTP library."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from reconciler.errors import OctofleetError, Refused
from reconciler.events import happened
from reconciler.identity.caller import Caller
from reconciler.reading.call import Call
from reconciler.reading.paging import Raw, words_of
from reconciler.server.problem import problem
from reconciler.server.render import page
from reconciler.server.route import API, Route
from reconciler.wiring import Installation

JSON, HTML, PROBLEM, FORM = "application/json", "text/html; charset=utf-8", "application/problem+json", "application/x-www-form-urlencoded"


Form = Mapping[str, str | list[str]]
"""What was sent of a form, by the names of its fields."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request to a route. `people`: it came to the page and not to the API. `cookie` and `bearer` say who asks.
    `said`: what came of the form that was sent before, in words. `by_itself`: an open page asks what is new, and nobody need sit
    before it."""

    route: Route
    path: Mapping[str, str]
    url: str = ""
    people: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    form: Form = field(default_factory=dict)
    body: bytes = b""
    kind: str = ""
    cookie: str = ""
    bearer: str = ""
    csrf: str = ""
    known: str = ""
    said: str = ""
    by_itself: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes back. `follows`: what is followed, where events are answered. `by`: the identity of whoever asked, if he is known."""

    status: int
    body: bytes = b""
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    follows: Any = None
    by: str = ""


Door = Callable[[Installation, str, bool], Caller | None]
"""Whose a secret is, None for nobody's; and whether he uses it now, which keeps a session from being idle."""


@dataclass(frozen=True, kw_only=True)
class Doors:
    """Who comes in: by the cookie of a session, or by an API token."""

    by_session: Door
    by_token: Door

    def caller(self, installation: Installation, asked: Asked, *, use: bool = True) -> Caller | None:
        """Whoever shows a token is who that says, whatever cookie comes with it. `use`: he asks for something now, and is not only looked at again."""
        if asked.bearer:
            return self.by_token(installation, asked.bearer, use)
        return self.by_session(installation, asked.cookie, use) if asked.cookie else None


def answered(installation: Installation, doors: Doors, asked: Asked) -> Answer:
    """The answer to a request; whatever goes wrong is one too."""
    caller: Caller | None = None
    try:
        caller = doors.caller(installation, asked, use=not asked.by_itself)
        found = _answer(installation, asked, caller) if caller is not None else _nobody(asked)
    except OctofleetError as error:
        found = refusal(error, people=asked.people, caller=caller, here=asked.route.path)
    except Exception as error:  # noqa: BLE001 - told to the log, not to whoever asked
        happened("request-failed", route=asked.route.name, error=f"{type(error).__name__}: {error}")
        found = refusal(error, people=asked.people, caller=caller, here=asked.route.path)
    return replace(found, by=caller.identity.name if caller is not None else "")


def _nobody(asked: Asked) -> Answer:
    """Pages send people to sign in, and back; programs are told what to bring."""
    if asked.people:
        there = asked.url if asked.route.method == "GET" else "/"
        return Answer(status=303, headers={"Location": f"/sign-in?next={quote(there, safe='')}"})
    hint = "send a token: Authorization: Bearer TOKEN (octofleet token create makes one)"
    found = refusal(Refused("nobody has signed in, or the token is none", hint=hint, code="unauthenticated"), people=False)
    return replace(found, headers={"WWW-Authenticate": "Bearer"})


def _answer(installation: Installation, asked: Asked, caller: Caller) -> Answer:
    route = asked.route
    call = Call(installation=installation, caller=caller, path=asked.path)
    call.use(route.action)
    if route.method != "GET":
        check_form(asked.csrf, caller)
    document = route.do(call, _read(asked))
    if not call.guarded:
        raise RuntimeError(f"the route {route.name} has asked no rule")
    if route.stream:
        return Answer(status=200, follows=document)
    if isinstance(document, Raw):
        return Answer(status=200, kind=route.kind, body=document.body, headers={"Content-Security-Policy": document.policy})
    if not asked.people:
        return _document(asked, document)
    if not route.template:
        return Answer(status=303, headers={"Location": _then(asked, document)})
    shown = page(route.template, call, document, said=asked.said, here=route.page or route.path, again=_again(asked))
    return Answer(status=200, kind=HTML, body=shown)


def check_form(csrf: str, caller: Caller) -> None:
    """What a browser sends by itself, a cookie, must not be enough to change anything. Raises `Refused`."""
    if caller.session and not hmac.compare_digest(csrf.encode(errors="replace"), caller.csrf.encode()):
        raise Refused("the form is not of this session", hint="load the page again, and send it from there", code="csrf")


def _read(asked: Asked) -> Any:
    """What is asked, checked. Raises `Refused` that names what is wrong."""
    asks = asked.route.asks
    try:
        if asked.route.method == "GET" or asked.people:
            named, came = _names(asks), asked.query if asked.route.method == "GET" else asked.form
            given = {name: text for name, text in came.items() if not asked.people or name in named}
            read = msgspec.convert(given, asks, strict=False)
        else:
            read = msgspec.json.decode(asked.body or b"{}", type=asks)
    except msgspec.ValidationError as error:
        raise _not_so(asked, error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("the body is not JSON", hint="send a JSON object", code="usage") from error
    check_texts([asked.path, msgspec.to_builtins(read)])
    return read


def _not_so(asked: Asked, error: msgspec.ValidationError) -> Refused:
    """What is wrong with a question. Of a word that is none of those that there are: which there are."""
    hint = "go back and mend it, or begin again from the menu" if asked.people else "GET /api/v1/openapi.json tells what each route takes"
    said = str(error)
    name = said.rpartition("$.")[2].rstrip("`")
    words = words_of(asked.route.asks).get(name)
    if words is None:
        return Refused(f"what is asked is not as it must be: {said}", hint=hint, code="usage")
    named = f" {asked.query[name][:100]!r}" if name in asked.query else ""
    return Refused(f"there is no {name}{named}", hint=f"{name} is one of: {', '.join(filter(None, words))}", code="usage")


def check_texts(found: object) -> None:
    """No database takes a NUL in a text, however deep in what was sent. Raises `Refused`."""
    if isinstance(found, str) and "\0" in found:
        raise Refused("there is a character in it that no text has", hint="send text without NUL", code="usage")
    if isinstance(found, Mapping | list):
        for one in found.values() if isinstance(found, Mapping) else found:
            check_texts(one)


@cache
def _names(asks: type) -> frozenset[str]:
    return frozenset(found.encode_name for found in msgspec.structs.fields(asks))


@cache
def list_fields(asks: type[msgspec.Struct]) -> frozenset[str]:
    """Names of the fields of a form that may be there more than once."""
    fields = msgspec.inspect.type_info(asks).fields  # type: ignore[attr-defined]
    return frozenset(one.encode_name for one in fields if isinstance(one.type, msgspec.inspect.ListType))


def _document(asked: Asked, document: object) -> Answer:
    body = msgspec.json.encode(document)
    if asked.route.later is not None and isinstance(document, asked.route.later):
        return Answer(status=202, body=body, headers={"Location": API + asked.route.path})
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if asked.route.method == "GET" and tag in asked.known:
        return Answer(status=304, headers={"ETag": tag})
    return Answer(status=asked.route.status, body=body, headers={"ETag": tag} if asked.route.method == "GET" else {})


def _then(asked: Asked, document: object) -> str:
    """Where a form goes on."""
    if asked.route.later is not None and isinstance(document, asked.route.later):
        return asked.route.path
    fields = msgspec.to_builtins(document)
    values = (fields if isinstance(fields, dict) else {}) | dict(asked.path)
    where = asked.route.then.format_map({name: quote(str(value), safe="") for name, value in values.items()})
    return where if asked.route.method == "GET" else f"{where}{'&' if '?' in where else '?'}said={asked.route.name}"


def _again(asked: Asked) -> str:
    """The address of the first part of a list, with what was asked."""
    kept = {name: text for name, text in asked.query.items() if name not in ("cursor", "said") and text}
    return asked.url.partition("?")[0] + (f"?{urlencode(kept)}" if kept else "")


def refusal(error: Exception, *, people: bool, caller: Caller | None = None, here: str = "") -> Answer:
    """An error as a page or as problem details."""
    found = problem(error)
    headers = {"Retry-After": f"{found.after_s:.0f}"} if found.after_s else {}
    if people:
        return Answer(status=found.status, kind=HTML, body=page("problem.html", caller, found, here=here), headers=headers)
    return Answer(status=found.status, kind=PROBLEM, body=msgspec.json.encode(found), headers=headers)
