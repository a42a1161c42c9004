"""Accounts of the server itself: names and Argon2id hashes in its database."""

import re

from reconciler.identity import passwords
from reconciler.identity.authenticator import Authenticated, PasswordCheck
from reconciler.store.accounts import load_account, set_password
from reconciler.store.engine import Connection, Store

KIND = "account:"
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


def account_name(text: str) -> str:
    """The name of an account as it is kept, however it was typed: in lower case, without spaces around it. Empty if no account can have it."""
    name = text.strip().lower() if len(text) <= 100 else ""
    return name if _NAME.fullmatch(name) else ""


class LocalAccounts(PasswordCheck):
    """Whoever has an account with a password here. They are in no group."""

    name = "local"

    def __init__(self, store: Store) -> None:
        self._store = store

    def check(self, name: str, password: str) -> Authenticated | None:
        """One hash is verified in any case. One of older parameters is made anew."""
        passwords.prepare()
        with self._store.read() as connection:
            account = load_account(connection, name)
        usable = account is not None and account.disabled_at is None
        matched = passwords.matches(account.password if account else "", password)
        if account is None or not (matched and usable):
            return None
        proof = account.password
        if passwords.outdated(proof):
            renewed = passwords.hashed(password)
            with self._store.write(alone=False) as connection:
                proof = renewed if set_password(connection, name, renewed, instead_of=proof) else proof
        return Authenticated(identity=KIND + name, name=account.display, proof=proof)

    def holds(self, connection: Connection, found: Authenticated) -> bool:
        """The hash is still the one, and the account not disabled; its row is locked."""
        account = load_account(connection, found.identity.removeprefix(KIND), lock=True)
        return account is not None and account.disabled_at is None and account.password == found.proof
