"""Where people come in: signing in and out, and one-time links. The only pages for which nobody has to have signed in.

Browsers say from which site a form comes (`Sec-Fetch-Site`, `Origin`): one of another site signs nobody in.
"""

from functools import partial

import msgspec
from aiohttp import web

from reconciler import signing_in
from reconciler.accounts import FIRST, LINK, void
from reconciler.errors import OctofleetError, Refused
from reconciler.identity import passwords
from reconciler.loopback import is_loopback
from reconciler.reading.paging import Ask, Document
from reconciler.server.forms import CHOSEN, Text, check_same, gone, page_of, read_form, sent, to, wrong_of
from reconciler.server.proxies import client_address, is_https
from reconciler.server.route import Nothing
from reconciler.server.site import COOKIE, form_of, safely
from reconciler.server.threads import PASSWORD, Threads
from reconciler.server.written import written
from reconciler.wiring import Installation


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
        ):
            app.router.add_route(method, path, safely(handler))

    async def _sign_in_page(self, request: web.Request) -> web.StreamResponse:
        _check_encrypted(request)
        return written(page_of("sign-in.html", SignIn(next=local(request.query.get("next", "/")), chosen="chosen" in request.query)))

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        _check_encrypted(request)
        asked = read_form(SignInAsk, await form_of(request, SignInAsk))
        source, agent, cookie = client_address(request), request.headers.get("User-Agent", ""), request.cookies.get(COOKIE, "")

        def work(installation: Installation) -> str:
            return signing_in.sign_in(installation, asked.name, asked.password, source=source, agent=agent, cookie=cookie)

        try:
            value = await self._threads.run(work, of=source, lane=PASSWORD)
        except OctofleetError as error:
            return written(page_of("sign-in.html", SignIn(name=asked.name, next=local(asked.next), wrong=wrong_of(error)), error=error))
        answer = to(local(asked.next))
        answer.set_cookie(COOKIE, value, path="/", secure=True, httponly=True, samesite="Lax")
        return answer

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        cookie = request.cookies.get(COOKIE, "")
        if await sent(request, self._threads, Nothing) is not None:
            await self._threads.run(lambda installation: signing_in.sign_out(installation, cookie), of=client_address(request))
        return gone()

    async def _welcome_page(self, request: web.Request) -> web.StreamResponse:
        _check_encrypted(request)
        secret = request.match_info["secret"]
        return written(page_of("welcome.html", await self._threads.run(partial(_welcome, secret=secret), of=client_address(request))))

    async def _welcome(self, request: web.Request) -> web.StreamResponse:
        _check_encrypted(request)
        secret, asked, source = (
            request.match_info["secret"],
            read_form(WelcomeAsk, await form_of(request, WelcomeAsk)),
            client_address(request),
        )

        def work(installation: Installation) -> None:
            check_same(asked.password, asked.again)
            signing_in.accept(installation, secret, asked.display, asked.password, asked.name)

        try:
            await self._threads.run(work, of=source, lane=PASSWORD)
        except OctofleetError as error:
            found = await self._threads.run(partial(_welcome, secret=secret), of=source)
            said = msgspec.structs.replace(found, typed=asked.name or FIRST, display=asked.display, wrong=wrong_of(error))
            return written(page_of("welcome.html", said, error=error))
        return to(CHOSEN)


def _check_encrypted(request: web.Request) -> None:
    """Browsers keep our cookie only where nobody between can read it: over HTTPS, or on this machine. Raises `Refused`."""
    if not is_https(request) and not is_loopback(request.url.host or ""):
        hint = "give the server a certificate, or have its proxy say X-Forwarded-Proto: docs/operations.md; on its own machine open http://127.0.0.1"
        raise Refused("nobody signs in or chooses a password without encryption: others could read it", hint=hint, code="unencrypted")


def local(there: str) -> str:
    """A path of this server, whatever somebody has written into a link: never another site."""
    plain = there.startswith("/") and not there.startswith("//") and "\\" not in there and there.isprintable()
    return there if plain else "/"


def _welcome(installation: Installation, *, secret: str) -> Welcome:
    found = signing_in.invited(installation, secret)
    if found is None:
        raise void()
    return Welcome(path=LINK + secret, name=found.account, reset=found.reset)
