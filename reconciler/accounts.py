"""Making accounts and API tokens: one-time links in, accounts with passwords out. Everything is recorded, and no secret is.

A link's secret is 256 random bits, of which the database has the SHA-256 alone. Whether somebody may is asked before, by `permitting`.
"""

import re
import secrets as random
from collections.abc import Iterable
from dataclasses import replace

from reconciler.errors import Refused
from reconciler.identity import passwords
from reconciler.identity.access import NEEDS, Action, Identity
from reconciler.identity.local_accounts import KIND, account_name
from reconciler.store import accounts as kept
from reconciler.store.accounts import Account, Invitation
from reconciler.store.audit import record
from reconciler.store.engine import Connection
from reconciler.store.sessions import end_sessions_of
from reconciler.store.tokens import Token, load_token, save_token
from reconciler.store.tokens import revoke as revoked
from reconciler.types.audit import LOOP, Entry
from reconciler.types.canonical import digest_bytes
from reconciler.wiring import Installation

LINK = "/invitation/"
"""The path of a one-time link, before its secret."""
FIRST = "owner"
"""What the first account is called if whoever opens the first link says nothing else."""
MOST_OF_A_NAME = 200
TOKEN_NAME = re.compile(r"token:[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def invite(installation: Installation, name: str, owner: bool, *, by: Identity) -> str:
    """The secret of a one-time link with which somebody makes his account of this name; another one that was open for it is void. Only who has the
    installation's files in hand makes owners. Raises `Refused`."""
    if owner and not by.here:
        raise Refused("owners are made on the installation's machine only", hint=f"octofleet account add {name} --owner", code="forbidden")
    account = _name(name)
    with installation.store.write() as connection:
        if kept.load_account(connection, account) is not None:
            raise Refused(
                f"there is an account {account}", hint=f"octofleet account reset {account} gives it a new password", code="account"
            )
        secret = _link(installation, connection, account, owner=owner, reset=False)
        record(connection, Entry(identity=by.name, action="account-invited", subjects=(KIND + account,), details={"owner": owner}))
    return secret


def reset(installation: Installation, name: str, *, by: Identity) -> str:
    """The secret of a one-time link that gives an account a new password. The one that it has is void at once, and its sessions end. Raises `Refused`."""
    with installation.store.write() as connection:
        account = _account(connection, name)
        if account.disabled_at is not None:
            raise Refused(f"the account {account.name} is disabled", hint=f"octofleet account enable {account.name}", code="account")
        kept.set_password(connection, account.name, "")
        ended = end_sessions_of(connection, account.name)
        secret = _link(installation, connection, account.name, owner=account.owner, reset=True)
        entry = Entry(identity=by.name, action="account-reset", subjects=(KIND + account.name,), details={"sessions": ended})
        record(connection, entry)
    return secret


def first_link(installation: Installation) -> str | None:
    """The secret of a one-time link for the first account, an owner's; None if there is an account. Those that were made before are good too, so that each of
    several processes may tell its own; when one was used, none is."""
    with installation.store.write() as connection:
        if kept.any_account(connection):
            return None
        secret = _link(installation, connection, "", owner=True, reset=False)
        record(connection, Entry(identity=LOOP, action="account-invited", details={"owner": True, "first": True}))
    return secret


def invited(installation: Installation, token: str) -> Invitation | None:
    """What a link is good for, to show whom it is for; None if it is good for nothing."""
    if not _SECRET.fullmatch(token):
        return None
    with installation.store.read() as connection:
        return _open(connection, digest_bytes(token.encode()))


def accept(installation: Installation, token: str, display_name: str, password: str, name: str = "") -> str:
    """Use a one-time link: make the account, or give it a new password, upon which its sessions end. Gives the account's name. `name`: what the first
    account is to be called. Raises `Refused`: `invitation` for a link that is good for nothing, `password` for one that cannot be taken, `account` for a
    name."""
    found = invited(installation, token)
    if found is None:
        raise void()
    account = found.account or _name(name or FIRST)
    display = "".join(char for char in display_name.strip()[:MOST_OF_A_NAME] if char.isprintable()) or account
    password = _hashed(password, account)
    with installation.store.write() as connection:
        now = connection.now()
        if _open(connection, found.id) is None or not kept.use_invitation(connection, found.id, now):
            taken = None
        elif found.reset:
            taken = "password-changed"
            kept.set_password(connection, account, password)
            end_sessions_of(connection, account)
        else:
            taken = "account-made"
            kept.save_account(connection, Account(name=account, display=display, password=password, owner=found.owner, made_at=now))
        if taken is not None:
            record(connection, Entry(identity=KIND + account, action=taken, subjects=(KIND + account,), details={"owner": found.owner}))
    if taken is None:
        raise void()
    return account


def change_kept_password(installation: Installation, account: str, proof: str, new: str) -> bool:
    """Give an account another password in place of the one with the hash `proof`; whether it had that one still. All of its sessions end."""
    made = _hashed(new, account)
    with installation.store.write(alone=False) as connection:
        done = kept.set_password(connection, account, made, instead_of=proof)
        if done:
            ended = end_sessions_of(connection, account)
            entry = Entry(identity=KIND + account, action="password-changed", subjects=(KIND + account,), details={"sessions": ended})
            record(connection, entry)
    return done


def set_enabled(installation: Installation, name: str, enabled: bool, *, by: Identity) -> Account:
    """Disable an account, or enable it again. While it is disabled nobody signs in to it and its tokens are good for nothing; its sessions end. Raises
    `Refused` for an account that there is not, or one that is so already."""
    with installation.store.write() as connection:
        account = _account(connection, name)
        if (account.disabled_at is None) == enabled:
            raise Refused(f"the account {account.name} is {'enabled' if enabled else 'disabled'} already", code="account")
        changed = replace(account, disabled_at=None if enabled else connection.now())
        kept.set_disabled(connection, account.name, changed.disabled_at)
        ended = 0 if enabled else end_sessions_of(connection, account.name)
        action = "account-enabled" if enabled else "account-disabled"
        record(connection, Entry(identity=by.name, action=action, subjects=(KIND + account.name,), details={"sessions": ended}))
    return changed


def create_token(
    installation: Installation, label: str, *, identity: str, actions: Iterable[Action], expires_s: float, by: Identity
) -> tuple[Token, str]:
    """A new API token and its text, which is known now and never again. It acts as `identity`: `token:NAME`, or `account:NAME` of an account. Who asks must
    be allowed what `permitting.to_make_token` says. Raises `Refused` for an identity that it cannot act as."""
    wanted = tuple(sorted({action.value for action in actions if NEEDS[action].role is not None}))
    text, of = random.token_urlsafe(32), random.token_hex(8)
    with installation.store.write() as connection:
        acts_as = KIND + _account(connection, identity.removeprefix(KIND)).name if identity.startswith(KIND) else identity
        if not (acts_as.startswith(KIND) or TOKEN_NAME.fullmatch(acts_as)):
            raise Refused(f"a token cannot act as {identity}", hint="let it act as token:NAME or account:NAME", code="token")
        now = connection.now()
        made = Token(
            id=of,
            secret=digest_bytes(text.encode()),
            label=label,
            identity=acts_as,
            actions=wanted,
            made_by=by.name,
            made_at=now,
            expires_at=now + expires_s,
        )
        save_token(connection, made)
        details = {"identity": acts_as, "actions": list(wanted), "label": label, "expiresAt": made.expires_at}
        record(connection, Entry(identity=by.name, action="token-made", subjects=(f"api-token:{of}",), details=details))
    return made, f"oft_{of}_{text}"


def revoke_token(installation: Installation, of: str, *, by: Identity) -> Token:
    """End a token for good, at once. Raises `Refused` if there is none with this id, or it was revoked before."""
    with installation.store.write() as connection:
        found = load_token(connection, of)
        if found is None:
            raise Refused("there is no token with this id", hint="octofleet token list", code="token")
        now = connection.now()
        if not revoked(connection, of, now):
            raise Refused(f"the token {of} was revoked before", code="token")
        record(connection, Entry(identity=by.name, action="token-revoked", subjects=(f"api-token:{of}",), details={"label": found.label}))
    return replace(found, revoked_at=now)


def _link(installation: Installation, connection: Connection, account: str, *, owner: bool, reset: bool) -> str:
    secret, until = random.token_urlsafe(32), connection.now() + installation.settings.sessions.invitation_s
    made = Invitation(id=digest_bytes(secret.encode()), account=account, owner=owner, reset=reset, expires_at=until)
    kept.save_invitation(connection, made)
    return secret


def _open(connection: Connection, of: str) -> Invitation | None:
    """A link that is good for something: the first one while there is no account, one of an account while it is not disabled, any other while there is none of
    its name."""
    found = kept.load_invitation(connection, of, connection.now())
    if found is None or not found.account:
        return None if found is None or kept.any_account(connection) else found
    account = kept.load_account(connection, found.account)
    if found.reset:
        return found if account is not None and account.disabled_at is None else None
    return found if account is None else None


def _hashed(password: str, account: str) -> str:
    if why := passwords.problem(password, account):
        raise Refused(why, hint="a few words that nobody else would put together are easy to remember", code="password")
    return passwords.hashed(password)


def _account(connection: Connection, name: str) -> Account:
    found = kept.load_account(connection, account_name(name))
    if found is None:
        raise Refused(f"there is no account {name[:100]!r}", hint="octofleet account list", code="account")
    return found


def _name(text: str) -> str:
    if name := account_name(text):
        return name
    hint = "use lower-case letters, digits and . _ @ + -, at most 64, a letter or digit first"
    raise Refused(f"{text[:100]!r} cannot be the name of an account", hint=hint, code="account")


def void() -> Refused:
    """What a link is answered with that is good for nothing."""
    hint = "sign in, if you chose your password with it; otherwise ask whoever runs this server for a new one"
    return Refused("this link is good for nothing: it was used, or has expired", hint=hint, code="invitation")
