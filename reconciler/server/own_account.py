"""The page of one's own account: the password, where one is signed in, and the tokens that act as oneself. It takes no role."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

import msgspec
from aiohttp import web

from reconciler import signing_in
from reconciler.accounts import create_token, revoke_token
from reconciler.errors import OctofleetError, Refused
from reconciler.identity import passwords
from reconciler.identity.access import NEEDS, READS, Action
from reconciler.identity.caller import Caller
from reconciler.identity.local_accounts import KIND
from reconciler.reading.paging import Ask, Document
from reconciler.server.forms import CHOSEN, SIGN_IN, Text, caller_of, check_same, gone, page_of, sent, to, wrong_of
from reconciler.server.proxies import client_address
from reconciler.server.route import Nothing
from reconciler.server.site import safely
from reconciler.server.threads import PASSWORD, Threads
from reconciler.server.written import written
from reconciler.store.sessions import sessions_of
from reconciler.store.tokens import Token, tokens
from reconciler.wiring import Installation

DAY_S = 86_400.0
ACTIONS: Mapping[str, Action] = {action.value: action for action in Action if NEEDS[action].role is not None}
"""What a token can be good for, by name."""


class PasswordAsk(Ask, frozen=True, kw_only=True):
    """The form that changes a password."""

    password: Text = ""
    chosen: Text = ""
    again: Text = ""


class TokenAsk(Ask, frozen=True, kw_only=True):
    """The form that makes a token; `actions`: names of them."""

    label: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    actions: Annotated[list[Text], msgspec.Meta(max_length=100)] = msgspec.field(default_factory=list)
    days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30


class OwnSession(Document, frozen=True, kw_only=True):
    """Where somebody is signed in; `this`: where he asks from."""

    this: bool
    agent: str
    source: str
    made_at: float
    seen_at: float


class ActionChoice(Document, frozen=True, kw_only=True):
    """Something that a token can be good for, and what that means."""

    name: str
    means: str


class Own(Document, frozen=True, kw_only=True):
    """One's own account. `secret`: of a token that was made just now. `tokens`: those that act as it, and are good for something. `reading` and `changing`:
    what a new one can be good for."""

    display: str
    sessions: list[OwnSession]
    tokens: list[Token]
    reading: list[ActionChoice]
    changing: list[ActionChoice]
    secret: str = ""
    wrong: str = ""
    least: int = passwords.LEAST


class OwnAccount:
    """What it has to ask the database is asked in these threads."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    def add_to(self, app: web.Application) -> None:
        """Add its routes to an application."""
        for method, path, handler in (
            ("GET", "/account", self._own_page),
            ("POST", "/account/password", self._change_password),
            ("POST", "/account/sessions/end", self._end_sessions),
            ("POST", "/account/tokens", self._make_token),
            ("POST", "/account/tokens/{token}/revoke", self._revoke),
        ):
            app.router.add_route(method, path, safely(handler))

    async def _own_page(self, request: web.Request) -> web.StreamResponse:
        caller = await caller_of(request, self._threads)
        return to(SIGN_IN) if caller is None else written(page_of("account.html", await self._own(caller), caller=caller))

    async def _change_password(self, request: web.Request) -> web.StreamResponse:
        if (found := await sent(request, self._threads, PasswordAsk)) is None:
            return to(SIGN_IN)
        (caller, asked), source = found, client_address(request)

        def work(installation: Installation) -> None:
            check_same(asked.chosen, asked.again)
            signing_in.change_password(installation, _name(caller), asked.password, asked.chosen, source=source)

        try:
            await self._threads.run(work, of=source, lane=PASSWORD)
        except OctofleetError as error:
            said = msgspec.structs.replace(await self._own(caller), wrong=wrong_of(error))
            return written(page_of("account.html", said, caller=caller, error=error))
        return gone(CHOSEN)

    async def _end_sessions(self, request: web.Request) -> web.StreamResponse:
        if (found := await sent(request, self._threads, Nothing)) is not None:
            await self._threads.run(lambda installation: signing_in.end_sessions(installation, _name(found[0])), of=found[0].identity.name)
        return gone()

    async def _make_token(self, request: web.Request) -> web.StreamResponse:
        if (found := await sent(request, self._threads, TokenAsk)) is None:
            return to(SIGN_IN)
        caller, asked = found
        me, actions = caller.identity, _actions(asked.actions)

        def work(installation: Installation) -> str:
            _, text = create_token(installation, asked.label, identity=me.name, actions=actions, expires_s=asked.days * DAY_S, by=me)
            return text

        secret = await self._threads.run(work, of=me.name)
        return written(page_of("account.html", msgspec.structs.replace(await self._own(caller), secret=secret), caller=caller))

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        if (found := await sent(request, self._threads, Nothing)) is None:
            return to(SIGN_IN)
        caller, of = found[0], request.match_info["token"]
        if of not in {token.id for token in (await self._own(caller)).tokens}:
            raise Refused("you have no such token", hint="your account's page lists them", code="no-token")
        await self._threads.run(lambda installation: revoke_token(installation, of, by=caller.identity), of=caller.identity.name)
        return to("/account")

    async def _own(self, caller: Caller) -> Own:
        return await self._threads.run(partial(_own, caller=caller), of=caller.identity.name)


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
        reading=_choices(reads=True),
        changing=_choices(reads=False),
    )


def _choices(*, reads: bool) -> list[ActionChoice]:
    return [ActionChoice(name=name, means=NEEDS[of].means) for name, of in ACTIONS.items() if (of in READS) == reads]


def _actions(wanted: Sequence[str]) -> list[Action]:
    """Raises `Refused` for none, or what is none."""
    unknown = [name for name in wanted if name not in ACTIONS]
    if unknown:
        raise Refused(f"{unknown[0][:40]} is nothing that a token can be good for", hint="load the page again", code="usage")
    if not wanted:
        raise Refused("a token has to be good for something", hint="go back, and tick what it is for", code="usage")
    return [ACTIONS[name] for name in wanted]


def _name(caller: Caller) -> str:
    return caller.identity.name.removeprefix(KIND)
