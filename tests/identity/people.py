"""Installations on either kind of database, with accounts whose passwords are hashed quickly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from reconciler import accounts
from reconciler.errors import Refused
from reconciler.identity import passwords
from reconciler.identity.access import Identity
from reconciler.settings import Sessions, Settings
from reconciler.signing_in import sign_in
from reconciler.store.audit import entries
from reconciler.wiring import Installation

HERE = Identity(name="local:root", here=True)
PASSWORD = "correct horse battery"
HOME = "192.0.2.7"


class Counted(PasswordHasher):
    """Hashes quickly, and counts what it was asked to verify."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"time_cost": 1, "memory_cost": 8, "parallelism": 1} | given)
        self.verified = 0

    def verify(self, *args: Any, **given: Any) -> Any:
        self.verified += 1
        return super().verify(*args, **given)


@pytest.fixture
def hasher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    made = Counted()
    passwords._nobodys.cache_clear()
    monkeypatch.setattr(passwords, "HASHER", made)
    yield made
    passwords._nobodys.cache_clear()


@pytest.fixture
def installation(database_url: str, tmp_path: Path, hasher: Counted) -> Iterator[Installation]:
    made = Installation(data_dir=tmp_path, settings=Settings(database_url=database_url, sessions=Sessions(tries=5)))
    yield made
    made.close()


def person(installation: Installation, name: str = "ada", *, owner: bool = False, password: str = PASSWORD) -> str:
    """An account with a password."""
    return accounts.accept(installation, accounts.invite(installation, name, owner, by=HERE), name.title(), password)


def signed_in(installation: Installation, name: str = "ada", password: str = PASSWORD, *, source: str = HOME, cookie: str = "") -> str:
    return sign_in(installation, name, password, source=source, agent="Firefox", cookie=cookie)


def refused(installation: Installation, name: str = "ada", password: str = "wrong", *, source: str = HOME) -> Refused:
    with pytest.raises(Refused) as caught:
        signed_in(installation, name, password, source=source)
    return caught.value


def trail(installation: Installation) -> list[tuple[str, str]]:
    """Who did what, oldest first."""
    with installation.store.read() as connection:
        return [(row.identity, row.action) for row in reversed(entries(connection, limit=1000))]


def run(installation: Installation, sql: str, *params: object) -> None:
    with installation.store.write() as connection:
        connection.run(sql, params)
