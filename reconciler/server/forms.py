"""Pages with forms that are beside the table of routes: what is read of a form, and what it is answered with."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from reconciler import signing_in
from reconciler.errors import OctofleetError, Refused
from reconciler.identity.caller import Caller
from reconciler.reading.paging import Ask, Document
from reconciler.server.answer import HTML, Answer, check_form, check_texts, refusal
from reconciler.server.problem import problem
from reconciler.server.proxies import client_address
from reconciler.server.render import page
from reconciler.server.site import COOKIE, form_of
from reconciler.server.threads import Threads
from reconciler.server.written import written

SIGN_IN = "/sign-in?next=%2Faccount"
CHOSEN = "/sign-in?chosen=1"
A = TypeVar("A", bound=Ask)
Text = Annotated[str, msgspec.Meta(max_length=1000)]


async def caller_of(request: web.Request, threads: Threads) -> Caller | None:
    """Who has signed in."""
    cookie = request.cookies.get(COOKIE, "")
    if not cookie:
        return None
    return await threads.run(lambda installation: signing_in.caller_of_session(installation, cookie), of=client_address(request))


async def sent(request: web.Request, threads: Threads, asks: type[A]) -> tuple[Caller, A] | None:
    """Who sends a form of his session, and what is in it; None for nobody. Raises `Refused`."""
    fields, caller = await form_of(request, asks), await caller_of(request, threads)
    if caller is None:
        return None
    check_form(str(fields.get("csrf", "")), caller)
    return caller, read_form(asks, fields)


def read_form(asks: type[A], fields: Mapping[str, Any]) -> A:
    """What is in a form, checked. Raises `Refused`."""
    try:
        check_texts(fields)
        return msgspec.convert({name: text for name, text in fields.items() if name != "csrf"}, asks, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"the form is not as it must be: {error}", hint="load the page again", code="usage") from error


def check_same(password: str, again: str) -> None:
    """Raises `Refused`."""
    if password != again:
        raise Refused("the two passwords differ", hint="type the same one twice", code="password")


def wrong_of(error: OctofleetError) -> str:
    """What was not taken, as a page says it."""
    found = problem(error)
    return ". ".join(text[0].upper() + text[1:] for text in (found.detail, found.hint) if text)


def page_of(template: str, document: Document, *, caller: Caller | None = None, error: OctofleetError | None = None) -> Answer:
    """A page; with the status of an error, if it tells of one."""
    if error is None:
        return Answer(status=200, kind=HTML, body=page(template, caller, document))
    refused = refusal(error, people=True)
    return Answer(status=refused.status, kind=HTML, body=page(template, caller, document), headers=refused.headers)


def to(there: str) -> web.Response:
    """Go on there."""
    return written(Answer(status=303, headers={"Location": there}))


def gone(there: str = "/sign-in") -> web.Response:
    """Signed out: the cookie is to be forgotten."""
    answer = to(there)
    answer.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
    return answer
