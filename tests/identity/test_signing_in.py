"""Sessions begin with the right password alone, and end when they should, at once; refusals tell nothing, and guesses are counted before they are tried."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from argon2 import Type

from reconciler import accounts, signing_in
from reconciler.errors import RetryLater
from reconciler.identity import passwords
from reconciler.identity.local_accounts import LocalAccounts
from reconciler.signing_in import caller_of_session, change_password, end_sessions, network, sign_out
from reconciler.store.accounts import load_account
from reconciler.store.audit import entries
from reconciler.store.postgresql import PostgresqlConnection
from reconciler.store.sessions import sessions_of
from reconciler.store.sqlite import SqliteConnection
from reconciler.types.canonical import digest_bytes
from reconciler.wiring import Installation
from tests.identity.people import HERE, HOME, PASSWORD, Counted, hasher, installation, person, refused, run, signed_in, trail
from tests.store.databases import database_url, kind

__all__ = ["database_url", "hasher", "installation", "kind"]

OTHER = "another horse battery"


def test_a_session_is_its_accounts(installation: Installation) -> None:
    person(installation, "ada", owner=True)
    cookie = signed_in(installation, " Ada ")
    caller = caller_of_session(installation, cookie)
    assert caller is not None
    assert (caller.identity.name, caller.name, caller.actions) == ("account:ada", "Ada", None)
    assert caller.identity.owner and not caller.identity.here and not caller.identity.groups
    assert caller.session == digest_bytes(cookie.encode()) and len(caller.csrf) == 64
    other = caller_of_session(installation, signed_in(installation))
    assert other is not None and other.csrf != caller.csrf
    assert caller_of_session(installation, cookie) == caller, "a second sign-in elsewhere ends nothing"


def test_nothing_that_is_kept_is_a_secret(installation: Installation) -> None:
    secret = accounts.invite(installation, "ada", False, by=HERE)
    accounts.accept(installation, secret, "Ada", PASSWORD)
    cookie = signed_in(installation)
    refused(installation, "nobody", "typed in a hurry")
    refused(installation, "my secret word", "wrong")
    with installation.store.read() as connection:
        tables = ("account", "session", "invitation", "tries", "audit")
        kept = repr([list(connection.rows(f"SELECT * FROM {table}")) for table in tables])
    for word in (PASSWORD, cookie, secret, "typed in a hurry", "my secret word"):
        assert word not in kept


ENDS: dict[str, Callable[[Installation, str], object]] = {
    "sign-out": sign_out,
    "sessions-ended": lambda installation, cookie: end_sessions(installation, "ada"),
    "account-disabled": lambda installation, cookie: accounts.set_enabled(installation, "ada", False, by=HERE),
    "account-reset": lambda installation, cookie: accounts.reset(installation, "ada", by=HERE),
    "password-changed": lambda installation, cookie: change_password(installation, "ada", PASSWORD, OTHER, source=HOME),
    "sign-in": lambda installation, cookie: signed_in(installation, cookie=cookie),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_stolen_cookie_is_dead_at_once(installation: Installation, how: str) -> None:
    person(installation), person(installation, "ben")
    stolen, bens = signed_in(installation), signed_in(installation, "ben")
    assert caller_of_session(installation, stolen) is not None
    ENDS[how](installation, stolen)
    assert caller_of_session(installation, stolen) is None
    assert caller_of_session(installation, bens) is not None, "other people's sessions go on"
    assert trail(installation)[-1][1] == how
    sign_out(installation, stolen)
    assert trail(installation)[-1][1] == how, "nothing is left to sign out of"


def test_a_session_stays_ended_when_its_account_is_enabled_again(installation: Installation) -> None:
    person(installation)
    stolen = signed_in(installation)
    accounts.set_enabled(installation, "ada", False, by=HERE)
    accounts.set_enabled(installation, "ada", True, by=HERE)
    assert caller_of_session(installation, stolen) is None
    assert caller_of_session(installation, signed_in(installation)) is not None


@pytest.mark.parametrize(("column", "more_s"), [("seen_at", 0), ("expires_at", 0)])
def test_a_session_ends_when_it_is_idle_or_old(installation: Installation, column: str, more_s: float) -> None:
    person(installation)
    cookie, limit = signed_in(installation), installation.settings.sessions
    back = limit.idle_s if column == "seen_at" else limit.absolute_s
    run(installation, f"UPDATE session SET {column} = {column} - ?", back - 60)
    assert caller_of_session(installation, cookie) is not None
    run(installation, f"UPDATE session SET {column} = {column} - ?", back)
    assert caller_of_session(installation, cookie) is None


def test_use_keeps_a_session_from_being_idle_and_is_written_once_a_minute(installation: Installation) -> None:
    person(installation)
    cookie = signed_in(installation)

    def seen() -> float:
        with installation.store.read() as connection:
            return sessions_of(connection, "ada")[0].seen_at

    first = seen()
    assert caller_of_session(installation, cookie) and seen() == first
    run(installation, "UPDATE session SET seen_at = seen_at - 61")
    assert caller_of_session(installation, cookie, use=False) and seen() < first
    assert caller_of_session(installation, cookie) and seen() >= first
    moved = seen()
    assert caller_of_session(installation, cookie) and seen() == moved


def test_an_unknown_name_a_wrong_password_and_a_disabled_account_are_answered_alike(installation: Installation, hasher: Counted) -> None:
    person(installation), person(installation, "ben"), person(installation, "cleo")
    accounts.set_enabled(installation, "ben", False, by=HERE)
    accounts.reset(installation, "cleo", by=HERE)
    said = set()
    for name, password in (
        ("ada", "wrong"),
        ("nobody", PASSWORD),
        ("ben", PASSWORD),
        ("cleo", PASSWORD),
        ("no name at all\0\ud800", "x" * 10_000),
    ):
        before = hasher.verified
        error = refused(installation, name, password)
        said.add((error.message, error.hint, error.code))
        assert hasher.verified == before + 1, name
    assert len(said) == 1 and {code for _, _, code in said} == {"sign-in"}


def test_no_password_is_no_password(installation: Installation) -> None:
    person(installation)
    accounts.reset(installation, "ada", by=HERE)
    for password in ("", "nobody", "\0"):
        assert refused(installation, "ada", password).code == "sign-in"


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_fifty_guesses_at_once_are_no_more_tries_than_one_by_one(installation: Installation, hasher: Counted, name: str) -> None:
    person(installation)
    with ThreadPoolExecutor(50) as threads:
        codes = [error.code for error in threads.map(lambda number: refused(installation, name, f"guess {number}"), range(50))]
    assert (codes.count("sign-in"), codes.count("too-many-tries")) == (5, 45) and hasher.verified == 5
    error = refused(installation, name, PASSWORD)
    assert error.code == "too-many-tries" and 0 < error.after_s <= 300 and "try again in" in error.hint
    assert hasher.verified == 5, "not even the right one is looked at"


def test_tries_at_many_accounts_meet_the_limit_of_their_source(installation: Installation) -> None:
    codes = [refused(installation, f"name-{number}").code for number in range(101)]
    assert codes == ["sign-in"] * 100 + ["too-many-tries"]
    assert refused(installation, "name-200", source="198.51.100.1").code == "sign-in"


def test_tries_from_many_sources_meet_the_limit_of_the_account(installation: Installation) -> None:
    person(installation)
    codes = [refused(installation, source=f"198.51.{number // 5}.1").code for number in range(201)]
    assert codes == ["sign-in"] * 200 + ["too-many-tries"]
    assert refused(installation, "ben").code == "sign-in"


def test_one_source_does_not_keep_an_owner_out(installation: Installation) -> None:
    person(installation)
    for _ in range(300):
        refused(installation, source="198.51.100.1")
    assert caller_of_session(installation, signed_in(installation)) is not None


def test_who_succeeds_has_as_many_tries_again_and_a_window_ends(installation: Installation) -> None:
    person(installation)
    for _ in range(2):
        assert [refused(installation).code for _ in range(4)] == ["sign-in"] * 4
        signed_in(installation)
    assert [refused(installation).code for _ in range(6)][-1] == "too-many-tries"
    run(installation, "UPDATE tries SET until = until - 301")
    assert caller_of_session(installation, signed_in(installation)) is not None


def test_what_counts_as_one_source() -> None:
    assert network("192.0.2.1") == network("::ffff:192.0.2.1") != network("192.0.2.2")
    assert network("2001:db8::1") == network("2001:db8::ffff:1") == network("2001:db8::1%eth0") != network("2001:db8:0:1::1")
    assert network("unix") == "unix"


def test_refusals_are_told_with_how_many_they_were(installation: Installation) -> None:
    person(installation)
    for _ in range(9):
        refused(installation)
    for name in ("unknown", "unknown", "unknown", "other"):
        refused(installation, name)
    with installation.store.read() as connection:
        rows = list(reversed(entries(connection, action="sign-in-refused")))
    ada = ["account:ada"]
    assert [(row.subjects, row.details["refused"], row.details["limit"]) for row in rows] == [
        *((ada, count, "") for count in (1, 2, 4)),
        (ada, 6, "pair"),
        *(([], count, "") for count in (1, 2, 1)),
    ]
    assert {row.identity for row in rows} == {"system:sign-in"} and {row.details["source"] for row in rows} == {HOME}
    assert rows[-1].details["refusedInAll"] == 10, "those beyond the limit are told as one"


def test_a_flood_of_refusals_is_told_with_few_rows(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_in, "FLOOD", 8)
    for number in range(70):
        refused(installation, f"name-{number}")
    with installation.store.read() as connection:
        rows = entries(connection, action="sign-in-refused")
    assert [row.details["refusedInAll"] for row in reversed(rows)] == [*range(1, 9), 16, 32, 64]


def test_the_database_does_the_same_whether_there_is_such_an_account(
    installation: Installation, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differs could be measured: so often as a name is tried, the statements are the same for every name."""
    person(installation), person(installation, "ben")
    accounts.set_enabled(installation, "ben", False, by=HERE)
    of = {"sqlite": SqliteConnection, "postgresql": PostgresqlConnection}[kind]
    execute, said = of._execute, list[str]()

    def heard(self: Any, sql: str, params: Any) -> Any:
        said.append(sql)
        return execute(self, sql, params)

    for number in range(20):
        refused(installation, f"unknown-{number}", source="198.51.100.1")
    monkeypatch.setattr(of, "_execute", heard)
    for _ in range(6):
        found = []
        for name in ("ada", "nobody", "ben"):
            said.clear()
            refused(installation, name)
            found.append([*said])
        assert found[0] == found[1] == found[2] and len(found[0]) >= 2


@pytest.mark.parametrize("how", ["account-disabled", "account-reset"])
def test_no_session_comes_of_what_was_changed_while_it_was_checked(
    installation: Installation, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    person(installation)
    checked = LocalAccounts.check

    def slowly(self: LocalAccounts, name: str, password: str) -> object:
        found = checked(self, name, password)
        ENDS[how](installation, "")
        return found

    monkeypatch.setattr(LocalAccounts, "check", slowly)
    assert refused(installation, "ada", PASSWORD).code == "sign-in"
    with installation.store.read() as connection:
        assert sessions_of(connection, "ada") == []


def test_a_hash_of_other_parameters_is_made_anew(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    person(installation)

    def kept() -> str:
        with installation.store.read() as connection:
            account = load_account(connection, "ada")
        assert account is not None
        return account.password

    old = kept()
    signed_in(installation)
    assert kept() == old
    monkeypatch.setattr(passwords, "HASHER", Counted(time_cost=2))
    cookie = signed_in(installation)
    assert kept() != old and ",t=2," in kept() and caller_of_session(installation, cookie) is not None
    refused(installation)
    signed_in(installation)


def test_passwords_are_argon2id_as_rfc_9106_has_it() -> None:
    made = passwords.HASHER
    assert made.type is Type.ID and made.memory_cost >= 64 * 1024 and made.time_cost >= 3
    assert passwords.hashed("a" * 12).startswith("$argon2id$")


def test_a_process_verifies_a_few_at_once(hasher: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAIT_S", 0.0)
    turns = [passwords._turn() for _ in range(passwords.AT_ONCE)]
    for turn in turns:
        turn.__enter__()
    with pytest.raises(RetryLater, match="at once"):
        passwords.matches("", "guess")
    for turn in turns:
        turn.__exit__(None, None, None)
    assert passwords.matches("", "guess") is False and hasher.verified == 1
