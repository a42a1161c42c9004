"""Signing in and out of the server, and who a cookie or an API token belongs to. No HTTP: routes give text, and get a `Caller` or `Refused`.

A cookie's value is 256 random bits, of which the database has the SHA-256 alone. A session is a row: what ends it deletes the row, and then the cookie is
worth nothing at once, in every process. Accounts and tokens are made in `accounts`.
"""

import hashlib
import hmac
import re
import secrets as random
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.strategies import FixedWindowRateLimiter

from reconciler.accounts import accept, change_kept_password, first_link, invite, invited
from reconciler.errors import Refused
from reconciler.identity.access import Action, Identity
from reconciler.identity.authenticator import Authenticated
from reconciler.identity.caller import Caller
from reconciler.identity.local_accounts import KIND, LocalAccounts, account_name
from reconciler.settings import Sessions
from reconciler.store.accounts import load_account
from reconciler.store.audit import record
from reconciler.store.engine import Connection
from reconciler.store.sessions import Session, end_session, end_sessions_of, load_session, save_session, seen
from reconciler.store.tokens import load_token, used
from reconciler.store.tries import Tries
from reconciler.types.audit import SIGN_IN, Entry
from reconciler.types.canonical import digest_bytes
from reconciler.wiring import Installation

__all__ = [
    "accept",
    "caller_of_session",
    "caller_of_token",
    "change_password",
    "end_sessions",
    "first_link",
    "invite",
    "invited",
    "sign_in",
    "sign_out",
]

COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
TOKEN = re.compile(r"oft_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
MOVED_S = 60.0
"""`seen_at` and `last_used_at` are written at most so often."""
FOLD_S = 3600
"""Refused sign-ins are told together for so long."""
FLOOD = 1024
"""So many refused sign-ins in that time are told name by name."""
MOST_OF_AN_AGENT = 200
WRONG = "the name or the password is wrong"


def sign_in(installation: Installation, name: str, password: str, *, source: str, agent: str, cookie: str = "") -> str:
    """Sign in with name and password; gives the value of the cookie. `source`: the address that asks; `agent`: what it calls itself; `cookie`: the one that
    came with the request, whose session ends.

    Raises `Refused`: `sign-in` with one text for an unknown name, a wrong password and a disabled account; `too-many-tries`, with `after_s`. `RetryLater`
    where too many sign in at once."""
    found = _checked(installation, name, password, source)
    local, value = LocalAccounts(installation.store), random.token_urlsafe(32)
    account = found.identity.removeprefix(KIND)
    with installation.store.write(alone=False) as connection:
        holds = local.holds(connection, found)
        if holds:
            if COOKIE.fullmatch(cookie):
                end_session(connection, digest_bytes(cookie.encode()))
            save_session(connection, _session(installation.settings.sessions, connection.now(), account, value, source, agent))
            _forgive(installation, connection, account, source)
            record(connection, Entry(identity=found.identity, action="sign-in", details={"source": source}))
    if not holds:
        raise _refused(installation, account, source)
    return value


def change_password(installation: Installation, account: str, password: str, new: str, *, source: str) -> None:
    """Give an account another password, for who knows the one that it has. All of its sessions end. Raises as `sign_in` does, and `Refused` with the code
    `password` for one that cannot be taken."""
    found = _checked(installation, account, password, source)
    if not change_kept_password(installation, account_name(account), found.proof, new):
        raise _refused(installation, account_name(account), source)


def sign_out(installation: Installation, cookie: str) -> None:
    """End the session of a cookie, if there is one."""
    if not COOKIE.fullmatch(cookie):
        return
    with installation.store.write(alone=False) as connection:
        if account := end_session(connection, digest_bytes(cookie.encode())):
            record(connection, Entry(identity=KIND + account, action="sign-out"))


def end_sessions(installation: Installation, account: str, *, by: str = "") -> int:
    """End all sessions of an account; how many there were. `by`: who wants it, by default whose they are."""
    name = account_name(account)
    with installation.store.write(alone=False) as connection:
        ended = end_sessions_of(connection, name)
        if ended:
            entry = Entry(identity=by or KIND + name, action="sessions-ended", subjects=(KIND + name,), details={"sessions": ended})
            record(connection, entry)
    return ended


def caller_of_session(installation: Installation, cookie: str, use: bool = True) -> Caller | None:
    """Who a cookie belongs to; None for one that is not, or not any more, of a session. Without `use` it is as idle as before."""
    if not COOKIE.fullmatch(cookie):
        return None
    of = digest_bytes(cookie.encode())
    with installation.store.read() as connection:
        now = connection.now()
        found = load_session(connection, of, now, installation.settings.sessions.idle_s)
    if found is None:
        return None
    session, name, owner = found
    if use and now - session.seen_at >= MOVED_S:
        with installation.store.write(alone=False) as connection:
            seen(connection, of, now)
    identity = Identity(name=KIND + session.account, owner=owner)
    return Caller(identity=identity, name=name, session=of, csrf=_keyed(installation, "csrf", of))


def caller_of_token(installation: Installation, token: str, use: bool = True) -> Caller | None:
    """Who an API token acts as, and how far; None for one that is not, or not any more, good for anything. Without `use` it was used when it was before."""
    parts = TOKEN.fullmatch(token)
    if parts is None:
        return None
    with installation.store.read() as connection:
        now, found = connection.now(), load_token(connection, parts[1])
        of_account = found is not None and found.identity.startswith(KIND)
        account = load_account(connection, found.identity.removeprefix(KIND)) if found and of_account else None
    same = hmac.compare_digest(found.secret if found else "-" * 64, digest_bytes(parts[2].encode()))
    if found is None or not same or found.state(now) != "live":
        return None
    if of_account and (account is None or account.disabled_at is not None):
        return None
    if use and (found.last_used_at is None or now - found.last_used_at >= MOVED_S):
        with installation.store.write(alone=False) as connection:
            used(connection, found.id, now)
    known = {action.value for action in Action}  # one that a later version took away is good for nothing
    actions = frozenset(Action(name) for name in found.actions if name in known)
    identity = Identity(name=found.identity, owner=account is not None and account.owner)
    return Caller(identity=identity, name=found.label, actions=actions)


def _session(said: Sessions, now: float, account: str, value: str, source: str, agent: str) -> Session:
    shown = "".join(char for char in agent[:MOST_OF_AN_AGENT] if char.isprintable())
    of = digest_bytes(value.encode())
    return Session(id=of, account=account, made_at=now, seen_at=now, expires_at=now + said.absolute_s, source=source, agent=shown)


def _checked(installation: Installation, name: str, password: str, source: str) -> Authenticated:
    """Who has this password, after the try was counted. Raises as `sign_in` does."""
    account = account_name(name)
    _count(installation, account or name, source)
    found = LocalAccounts(installation.store).check(account, password)
    if found is None:
        raise _refused(installation, account or name, source)
    return found


def _refused(installation: Installation, name: str, source: str) -> Refused:
    with installation.store.write(alone=False) as connection:
        _tell_refused(installation, connection, name, source)
    return Refused(WRONG, hint="try again, or ask an administrator for a link to set a new password", code="sign-in")


def _limits(installation: Installation, name: str, source: str) -> list[tuple[RateLimitItem, str]]:
    """What a try counts against, in this order: its source, this account from this source, this account from anywhere.

    How it is weighed: a person who mistypes has some tries from where he is (`tries`). Who guesses at many accounts meets the limit of his source. Who
    guesses at one from many sources meets the limit of the account. That one also keeps its owner out meanwhile, so it is large and its window short: far too
    few tries to guess a password of 12 characters, and minutes after the attack its owner gets in again. A try that an earlier limit refuses does not count
    against a later one, so that one source alone cannot use up an account's. Who is signed in stays so, and tokens are not concerned."""
    said = installation.settings.sessions
    account, place = (_keyed(installation, "tries", text)[:32] for text in (name, network(source)))
    return [
        (RateLimitItemPerSecond(said.source_tries, said.tries_s, "source"), place),
        (RateLimitItemPerSecond(said.tries, said.tries_s, "pair"), f"{account}-{place}"),
        (RateLimitItemPerSecond(said.account_tries, said.tries_s, "account"), account),
    ]


def _count(installation: Installation, name: str, source: str) -> None:
    """Count a try before anything is looked at. All counters are moved in one transaction, each by one statement that waits for others: no two tries see the
    same number. Raises `Refused`."""
    with installation.store.write(alone=False) as connection:
        limiter = FixedWindowRateLimiter(Tries(connection))
        over = next((item for item in _limits(installation, name, source) if not limiter.hit(*item)), None)
        if over is None:
            return
        after_s = max(1.0, limiter.get_window_stats(*over).reset_time - connection.now())
        if limiter.storage.get(over[0].key_for(over[1])) == over[0].amount + 1:
            _tell_refused(installation, connection, name, source, over[0].namespace)
    wait = f"{after_s / 60:.0f} min" if after_s >= 90 else f"{after_s:.0f} s"
    raise Refused("there were too many tries to sign in", hint=f"try again in {wait}", code="too-many-tries", after_s=after_s)


def _forgive(installation: Installation, connection: Connection, account: str, source: str) -> None:
    """Who knows the password has tried nothing from where he is."""
    limiter = FixedWindowRateLimiter(Tries(connection))
    limiter.clear(*_limits(installation, account, source)[1])


def _tell_refused(installation: Installation, connection: Connection, name: str, source: str, limit: str = "") -> None:
    """Record a refused sign-in: the 1st, 2nd, 4th, 8th and so on of an hour for each name that is typed, and the one that met a `limit`; in a flood only
    the 1st, 2nd, 4th and so on of all. Whether there is such an account makes no difference to that, and so to the time that it takes. What was typed
    for an unknown name is not recorded: it may be a password."""
    account, tries = account_name(name), Tries(connection)
    known = load_account(connection, account) is not None
    count = tries.incr(f"refused/{_keyed(installation, 'refused', account or name)[:32]}", FOLD_S)
    every = tries.incr("refused", FOLD_S)
    if _power_of_two(every) or (every <= FLOOD and (limit or _power_of_two(count))):
        details = {"refused": count, "refusedInAll": every, "inSeconds": FOLD_S, "source": source, "limit": limit}
        record(connection, Entry(identity=SIGN_IN, action="sign-in-refused", subjects=(KIND + account,) if known else (), details=details))


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def network(source: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 that one IPv6 customer has; other text as it is."""
    with suppress(ValueError):
        address = ip_address(source.partition("%")[0])
        if isinstance(address, IPv6Address):
            mapped = address.ipv4_mapped
            return str(mapped) if mapped else f"{address.exploded[:19]}::/64"
        return str(address)
    return source


def _keyed(installation: Installation, use: str, text: str) -> str:
    return hmac.new(installation.key, f"{use}:{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
