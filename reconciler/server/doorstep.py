"""Where people come in: signing in and out, one-time links, one's own account. The only pages for which nobody has to have signed in, or to have a role.

Browsers say from which site a form comes (`Sec-Fetch-Site`, `Origin`): one of another site signs nobody in.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from reconciler import signing_in
from reconciler.accounts import LINK
from reconciler.errors import OctofleetError, Refused
from reconciler.identity.caller import Caller
from reconciler.reading.paging import Ask, Document
from reconciler.server.answer import HTML, Answer, check_form, refusal
from reconciler.server.problem import Problem, problem
from reconciler.server.render import page
from reconciler.server.site import COOKIE, form_of, safely, written
from reconciler.server.threads import Threads
from reconciler.wiring import Installation

A = TypeVar("A", bound=Ask)
Text = Annotated[str, msgspec.Meta(max_length=1000)]


class SignInAsk(Ask, frozen=True, kw_only=True):
    """The form of the sign-in page. `next`: the page that was asked for."""

    name: Text = ""
    password: Text = ""
    next: Text = "/"


class WelcomeAsk(Ask, frozen=True, kw_only=True):
    """The form behind a one-time link; `name` only for the first account."""

    name: Text = ""
    display: Text = ""
    password: Text = ""
    again: Text = ""


class PasswordAsk(Ask, frozen=True, kw_only=True):
    """The form that changes a password."""

    password: Text = ""
    new: Text = ""
    again: Text = ""


class SignIn(Document, frozen=True, kw_only=True):
    """The sign-in page; `problem`: why it was not taken."""

    name: str = ""
    next: str = "/"
    problem: Problem | None = None


class Welcome(Document, frozen=True, kw_only=True):
    """The page behind a one-time link. `account`: whose it is, empty for the first one; `reset`: it gives a new password to an account that there is."""

    secret: str
    account: str
    reset: bool
    owner: bool
    name: str = ""
    display: str = ""
    problem: Problem | None = None


class Account(Document, frozen=True, kw_only=True):
    """One's own account."""

    name: str
    identity: str
    problem: Problem | None = None


class Doorstep:
    """`address` tells where a request comes from."""

    def __init__(self, threads: Threads, address: Callable[[web.Request], str]) -> None:
        self._threads, self._address = threads, address

    def add_to(self, app: web.Application) -> None:
        """Add its routes to an application."""
        for method, path, handler in (
            ("GET", "/sign-in", self._sign_in_page),
            ("POST", "/sign-in", self._sign_in),
            ("POST", "/sign-out", self._sign_out),
            ("GET", LINK + "{secret}", self._welcome_page),
            ("POST", LINK + "{secret}", self._welcome),
            ("GET", "/account", self._account_page),
            ("POST", "/account/password", self._change_password),
            ("POST", "/account/sessions/end", self._end_sessions),
        ):
            app.router.add_route(method, path, safely(handler))

    async def _sign_in_page(self, request: web.Request) -> web.StreamResponse:
        there = local(request.query.get("next", "/"))
        return written(_page("sign-in.html", SignIn(next=there)))

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        asked = _read(SignInAsk, await form_of(request))
        source, agent, cookie = self._address(request), request.headers.get("User-Agent", ""), request.cookies.get(COOKIE, "")

        def work(installation: Installation) -> str:
            return signing_in.sign_in(installation, asked.name, asked.password, source=source, agent=agent, cookie=cookie)

        try:
            value = await self._threads.run(work)
        except OctofleetError as error:
            return written(_page("sign-in.html", SignIn(name=asked.name, next=local(asked.next), problem=problem(error)), error=error))
        answer = _to(local(asked.next))
        answer.set_cookie(COOKIE, value, path="/", secure=True, httponly=True, samesite="Lax")
        return answer

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        fields, cookie = await form_of(request), request.cookies.get(COOKIE, "")
        caller = await self._caller(request)
        if caller is not None:
            check_form(fields.get("csrf", ""), caller)
            await self._threads.run(lambda installation: signing_in.sign_out(installation, cookie))
        return _gone()

    async def _welcome_page(self, request: web.Request) -> web.StreamResponse:
        secret = request.match_info["secret"]
        return written(_page("welcome.html", await self._threads.run(partial(_welcome, secret=secret))))

    async def _welcome(self, request: web.Request) -> web.StreamResponse:
        secret, asked = request.match_info["secret"], _read(WelcomeAsk, await form_of(request))

        def work(installation: Installation) -> None:
            if asked.password != asked.again:
                raise Refused("the two passwords differ", hint="type the same one twice", code="password")
            signing_in.accept(installation, secret, asked.display, asked.password, asked.name)

        try:
            await self._threads.run(work)
        except OctofleetError as error:
            found = await self._threads.run(partial(_welcome, secret=secret))
            said = msgspec.structs.replace(found, name=asked.name, display=asked.display, problem=problem(error))
            return written(_page("welcome.html", said, error=error))
        return _to("/sign-in")

    async def _account_page(self, request: web.Request) -> web.StreamResponse:
        caller = await self._caller(request)
        return _to("/sign-in?next=%2Faccount") if caller is None else written(_page("account.html", _account(caller), caller=caller))

    async def _change_password(self, request: web.Request) -> web.StreamResponse:
        fields, caller = await form_of(request), await self._caller(request)
        if caller is None:
            return _to("/sign-in?next=%2Faccount")
        check_form(fields.pop("csrf", ""), caller)
        asked, source = _read(PasswordAsk, fields), self._address(request)

        def work(installation: Installation) -> None:
            if asked.new != asked.again:
                raise Refused("the two new passwords differ", hint="type the same one twice", code="password")
            signing_in.change_password(installation, _name(caller), asked.password, asked.new, source=source)

        try:
            await self._threads.run(work)
        except OctofleetError as error:
            said = msgspec.structs.replace(_account(caller), problem=problem(error))
            return written(_page("account.html", said, caller=caller, error=error))
        return _gone()

    async def _end_sessions(self, request: web.Request) -> web.StreamResponse:
        fields, caller = await form_of(request), await self._caller(request)
        if caller is not None:
            check_form(fields.get("csrf", ""), caller)
            await self._threads.run(lambda installation: signing_in.end_sessions(installation, _name(caller)))
        return _gone()

    async def _caller(self, request: web.Request) -> Caller | None:
        cookie = request.cookies.get(COOKIE, "")
        return await self._threads.run(lambda installation: signing_in.caller_of_session(installation, cookie)) if cookie else None


def local(there: str) -> str:
    """A path of this server, whatever somebody has written into a link: never another site."""
    plain = there.startswith("/") and not there.startswith("//") and "\\" not in there and there.isprintable()
    return there if plain else "/"


def _welcome(installation: Installation, *, secret: str) -> Welcome:
    found = signing_in.invited(installation, secret)
    if found is None:
        hint = "ask for another one: octofleet account reset NAME, or add"
        raise Refused("this link was used, is too old, or never was one", hint=hint, code="invitation")
    return Welcome(secret=secret, account=found.account, reset=found.reset, owner=found.owner)


def _account(caller: Caller) -> Account:
    return Account(name=caller.name, identity=caller.identity.name)


def _name(caller: Caller) -> str:
    return caller.identity.name.partition(":")[2]


def _page(template: str, document: Document, *, caller: Caller | None = None, error: OctofleetError | None = None) -> Answer:
    if error is None:
        return Answer(status=200, kind=HTML, body=page(template, caller, document))
    refused = refusal(error, people=True)
    return Answer(status=refused.status, kind=HTML, body=page(template, caller, document), headers=refused.headers)


def _read(asks: type[A], fields: Mapping[str, Any]) -> A:
    try:
        return msgspec.convert({name: text for name, text in fields.items() if name != "csrf"}, asks, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"the form is not as it must be: {error}", hint="load the page again", code="usage") from error


def _to(there: str) -> web.Response:
    return written(Answer(status=303, headers={"Location": there}))


def _gone() -> web.Response:
    """Signed out: the cookie is to be forgotten."""
    answer = _to("/sign-in")
    answer.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer
