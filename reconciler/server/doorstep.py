"""Where people come in: signing in and out, one-time links, one's own account. The only pages for which nobody has to have signed in, or to have a role.

Browsers say from which site a form comes (`Sec-Fetch-Site`, `Origin`): one of another site signs nobody in.
"""

from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from reconciler import signing_in
from reconciler.accounts import FIRST, LINK, create_token, revoke_token, void
from reconciler.errors import OctofleetError, Refused
from reconciler.identity import passwords
from reconciler.identity.access import NEEDS, Action
from reconciler.identity.caller import Caller
from reconciler.identity.local_accounts import KIND
from reconciler.reading.paging import Ask, Document
from reconciler.server.answer import HTML, Answer, check_form, check_texts, refusal
from reconciler.server.problem import problem
from reconciler.server.proxies import client_address, is_https
from reconciler.server.render import page
from reconciler.server.site import COOKIE, form_of, safely
from reconciler.server.threads import PASSWORD, Threads
from reconciler.server.written import written
from reconciler.store.sessions import sessions_of
from reconciler.store.tokens import Token, tokens
from reconciler.wiring import Installation

SIGN_IN = "/sign-in?next=%2Faccount"
CHOSEN = "/sign-in?chosen=1"
DAY_S = 86_400.0
ACTIONS: Mapping[str, Action] = {action.value: action for action in Action if NEEDS[action].role is not None}
"""What a token can be good for, by name."""
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
    chosen: Text = ""
    again: Text = ""


class TokenAsk(Ask, frozen=True, kw_only=True):
    """The form that makes a token; `actions`: names of them, with commas between."""

    label: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    actions: Text = "view"
    days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30


class SignIn(Document, frozen=True, kw_only=True):
    """The sign-in page; `wrong`: why it was not taken; `chosen`: whether a password was set just now."""

    name: str = ""
    next: str = "/"
    wrong: str = ""
    chosen: bool = False


class Welcome(Document, frozen=True, kw_only=True):
    """The page behind the one-time link `path`. `name`: whose it is, empty for the first account; `reset`: it gives a new password to one that there is."""

    path: str
    name: str
    reset: bool
    typed: str = FIRST
    display: str = ""
    wrong: str = ""
    least: int = passwords.LEAST


class OwnSession(Document, frozen=True, kw_only=True):
    """Where somebody is signed in; `this`: where he asks from."""

    this: bool
    agent: str
    source: str
    made_at: float
    seen_at: float


class Own(Document, frozen=True, kw_only=True):
    """One's own account. `secret`: of a token that was made just now. `tokens`: those that act as it, and are good for something."""

    display: str
    sessions: list[OwnSession]
    tokens: list[Token]
    actions: list[str]
    secret: str = ""
    wrong: str = ""
    least: int = passwords.LEAST


class Doorstep:
    """What it has to ask the database is asked in these threads."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    def add_to(self, app: web.Application) -> None:
        """Add its routes to an application."""
        for method, path, handler in (
            ("GET", "/sign-in", self._sign_in_page),
            ("POST", "/sign-in", self._sign_in),
            ("POST", "/sign-out", self._sign_out),
            ("GET", LINK + "{secret}", self._welcome_page),
            ("POST", LINK + "{secret}", self._welcome),
            ("GET", "/account", self._own_page),
            ("POST", "/account/password", self._change_password),
            ("POST", "/account/sessions/end", self._end_sessions),
            ("POST", "/account/tokens", self._make_token),
            ("POST", "/account/tokens/{token}/revoke", self._revoke),
        ):
            app.router.add_route(method, path, safely(handler))

    async def _sign_in_page(self, request: web.Request) -> web.StreamResponse:
        _check_encrypted(request)
        return written(_page("sign-in.html", SignIn(next=local(request.query.get("next", "/")), chosen="chosen" in request.query)))

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        _check_encrypted(request)
        asked = _read(SignInAsk, await form_of(request))
        source, agent, cookie = client_address(request), request.headers.get("User-Agent", ""), request.cookies.get(COOKIE, "")

        def work(installation: Installation) -> str:
            return signing_in.sign_in(installation, asked.name, asked.password, source=source, agent=agent, cookie=cookie)

        try:
            value = await self._threads.run(work, of=source, lane=PASSWORD)
        except OctofleetError as error:
            return written(_page("sign-in.html", SignIn(name=asked.name, next=local(asked.next), wrong=_wrong(error)), error=error))
        answer = _to(local(asked.next))
        answer.set_cookie(COOKIE, value, path="/", secure=True, httponly=True, samesite="Lax")
        return answer

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        cookie = request.cookies.get(COOKIE, "")
        if await self._form(request) is not None:
            await self._threads.run(lambda installation: signing_in.sign_out(installation, cookie), of=client_address(request))
        return _gone()

    async def _welcome_page(self, request: web.Request) -> web.StreamResponse:
        _check_encrypted(request)
        secret = request.match_info["secret"]
        return written(_page("welcome.html", await self._threads.run(partial(_welcome, secret=secret), of=client_address(request))))

    async def _welcome(self, request: web.Request) -> web.StreamResponse:
        _check_encrypted(request)
        secret, asked, source = request.match_info["secret"], _read(WelcomeAsk, await form_of(request)), client_address(request)

        def work(installation: Installation) -> None:
            _check_same(asked.password, asked.again)
            signing_in.accept(installation, secret, asked.display, asked.password, asked.name)

        try:
            await self._threads.run(work, of=source, lane=PASSWORD)
        except OctofleetError as error:
            found = await self._threads.run(partial(_welcome, secret=secret), of=source)
            said = msgspec.structs.replace(found, typed=asked.name or FIRST, display=asked.display, wrong=_wrong(error))
            return written(_page("welcome.html", said, error=error))
        return _to(CHOSEN)

    async def _own_page(self, request: web.Request) -> web.StreamResponse:
        caller = await self._caller(request)
        return _to(SIGN_IN) if caller is None else written(_page("account.html", await self._own(caller), caller=caller))

    async def _change_password(self, request: web.Request) -> web.StreamResponse:
        if (found := await self._form(request)) is None:
            return _to(SIGN_IN)
        caller, fields = found
        asked, source = _read(PasswordAsk, fields), client_address(request)

        def work(installation: Installation) -> None:
            _check_same(asked.chosen, asked.again)
            signing_in.change_password(installation, _name(caller), asked.password, asked.chosen, source=source)

        try:
            await self._threads.run(work, of=source, lane=PASSWORD)
        except OctofleetError as error:
            said = msgspec.structs.replace(await self._own(caller), wrong=_wrong(error))
            return written(_page("account.html", said, caller=caller, error=error))
        return _gone(CHOSEN)

    async def _end_sessions(self, request: web.Request) -> web.StreamResponse:
        if (found := await self._form(request)) is not None:
            await self._threads.run(lambda installation: signing_in.end_sessions(installation, _name(found[0])), of=found[0].identity.name)
        return _gone()

    async def _make_token(self, request: web.Request) -> web.StreamResponse:
        if (found := await self._form(request)) is None:
            return _to(SIGN_IN)
        caller, fields = found
        asked, me = _read(TokenAsk, fields), caller.identity
        actions = _actions(asked.actions)

        def work(installation: Installation) -> str:
            _, text = create_token(installation, asked.label, identity=me.name, actions=actions, expires_s=asked.days * DAY_S, by=me)
            return text

        secret = await self._threads.run(work, of=me.name)
        return written(_page("account.html", msgspec.structs.replace(await self._own(caller), secret=secret), caller=caller))

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        if (found := await self._form(request)) is None:
            return _to(SIGN_IN)
        caller, of = found[0], request.match_info["token"]
        if of not in {token.id for token in (await self._own(caller)).tokens}:
            raise Refused("you have no such token", hint="your account's page lists them", code="no-token")
        await self._threads.run(lambda installation: revoke_token(installation, of, by=caller.identity), of=caller.identity.name)
        return _to("/account")

    async def _own(self, caller: Caller) -> Own:
        return await self._threads.run(partial(_own, caller=caller), of=caller.identity.name)

    async def _caller(self, request: web.Request) -> Caller | None:
        cookie = request.cookies.get(COOKIE, "")
        if not cookie:
            return None
        return await self._threads.run(lambda installation: signing_in.caller_of_session(installation, cookie), of=client_address(request))

    async def _form(self, request: web.Request) -> tuple[Caller, dict[str, str]] | None:
        """Who sends a form of his session, and its fields; None for nobody. Raises `Refused`."""
        fields, caller = await form_of(request), await self._caller(request)
        if caller is None:
            return None
        check_form(fields.pop("csrf", ""), caller)
        return caller, fields


def _check_encrypted(request: web.Request) -> None:
    """Browsers keep our cookie only where nobody between can read it: over HTTPS, or on this machine. Raises `Refused`."""
    if not is_https(request) and not _is_here(request.url.host or ""):
        hint = "give the server a certificate, or have its proxy say X-Forwarded-Proto: docs/operations.md; on its own machine open http://127.0.0.1"
        raise Refused("nobody signs in or chooses a password without encryption: others could read it", hint=hint, code="unencrypted")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def local(there: str) -> str:
    """A path of this server, whatever somebody has written into a link: never another site."""
    plain = there.startswith("/") and not there.startswith("//") and "\\" not in there and there.isprintable()
    return there if plain else "/"


def _welcome(installation: Installation, *, secret: str) -> Welcome:
    found = signing_in.invited(installation, secret)
    if found is None:
        raise void()
    return Welcome(path=LINK + secret, name=found.account, reset=found.reset)


def _own(installation: Installation, *, caller: Caller) -> Own:
    with installation.store.read() as connection:
        now = connection.now()
        mine = [token for token in tokens(connection) if token.identity == caller.identity.name and token.revoked_at is None]
        sessions = sessions_of(connection, _name(caller))
    return Own(
        display=caller.name,
        sessions=[
            OwnSession(this=one.id == caller.session, agent=one.agent, source=one.source, made_at=one.made_at, seen_at=one.seen_at)
            for one in sessions
        ],
        tokens=[token for token in mine if token.expires_at > now],
        actions=sorted(ACTIONS),
    )


def _name(caller: Caller) -> str:
    return caller.identity.name.removeprefix(KIND)


def _check_same(password: str, again: str) -> None:
    if password != again:
        raise Refused("the two passwords differ", hint="type the same one twice", code="password")


def _actions(text: str) -> list[Action]:
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    if not wanted or (unknown := [part for part in wanted if part not in ACTIONS]):
        what = f"{unknown[0][:40]} is nothing that a token can be good for" if wanted else "a token has to be good for something"
        raise Refused(what, hint=f"name some of {', '.join(sorted(ACTIONS))}", code="usage")
    return [ACTIONS[part] for part in wanted]


def _wrong(error: OctofleetError) -> str:
    found = problem(error)
    return ". ".join(text[0].upper() + text[1:] for text in (found.detail, found.hint) if text)


def _page(template: str, document: Document, *, caller: Caller | None = None, error: OctofleetError | None = None) -> Answer:
    if error is None:
        return Answer(status=200, kind=HTML, body=page(template, caller, document))
    refused = refusal(error, people=True)
    return Answer(status=refused.status, kind=HTML, body=page(template, caller, document), headers=refused.headers)


def _read(asks: type[A], fields: Mapping[str, Any]) -> A:
    try:
        check_texts(fields.values())
        return msgspec.convert({name: text for name, text in fields.items() if name != "csrf"}, asks, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"the form is not as it must be: {error}", hint="load the page again", code="usage") from error


def _to(there: str) -> web.Response:
    return written(Answer(status=303, headers={"Location": there}))


def _gone(there: str = "/sign-in") -> web.Response:
    """Signed out: the cookie is to be forgotten."""
    answer = _to(there)
    answer.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
    return answer
