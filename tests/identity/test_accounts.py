"""One-time links work once; passwords are long and nothing else; tokens act as whom they say, for what they say, until they end."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler import accounts
from reconciler.errors import Refused
from reconciler.identity import passwords
from reconciler.identity.access import Action, Identity
from reconciler.identity.local_accounts import account_name
from reconciler.settings import Settings
from reconciler.signing_in import COOKIE, TOKEN, accept, caller_of_session, caller_of_token, first_link, invite, invited, sign_out
from reconciler.store.tokens import load_token
from reconciler.wiring import Installation
from tests.identity.people import HERE, PASSWORD, hasher, installation, person, refused, run, signed_in, trail
from tests.store.databases import database_url, kind

__all__ = ["database_url", "hasher", "installation", "kind"]

BEN = Identity(name="account:ben")


def code_of(error: pytest.ExceptionInfo[Refused]) -> str:
    return error.value.code


def void(installation: Installation, link: str, **more: str) -> None:
    with pytest.raises(Refused) as caught:
        accept(installation, link, "Eve", "a horse of another colour", **more)
    assert code_of(caught) == "invitation" and invited(installation, link) is None


def test_the_first_link_makes_one_owner_and_then_there_is_none(installation: Installation) -> None:
    links = [first_link(installation), first_link(installation)]
    assert None not in links and links[0] != links[1], "each process tells its own"
    one, other = map(str, links)
    assert invited(installation, one) is not None
    assert accept(installation, one, "Ada Lovelace", PASSWORD, name="Ada") == "ada"
    caller = caller_of_session(installation, signed_in(installation))
    assert caller is not None and caller.identity.owner and caller.name == "Ada Lovelace"
    assert first_link(installation) is None
    void(installation, one, name="eve")
    void(installation, other, name="eve")
    assert trail(installation)[-2:] == [("account:ada", "account-made"), ("account:ada", "sign-in")]


def test_who_says_no_name_is_called_owner(installation: Installation) -> None:
    assert accept(installation, str(first_link(installation)), " ", PASSWORD) == "owner"


def test_a_link_works_once_for_whoever_is_first(installation: Installation) -> None:
    link = invite(installation, "ada", False, by=HERE)

    def use(number: int) -> str:
        try:
            return accept(installation, link, "Ada", f"{PASSWORD} {number}")
        except Refused as error:
            return error.code

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(use, range(8)))
    assert sorted(found) == ["ada", *["invitation"] * 7]
    void(installation, link)


def test_two_first_links_at_once_make_one_owner(installation: Installation) -> None:
    links = [str(first_link(installation)) for _ in range(4)]

    def use(number: int) -> str:
        try:
            return accept(installation, links[number], "", PASSWORD, name=f"owner-{number}")
        except Refused as error:
            return error.code

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(use, range(4)))
    assert found.count("invitation") == 3


def test_a_link_expires(installation: Installation) -> None:
    link = invite(installation, "ada", False, by=HERE)
    run(installation, "UPDATE invitation SET expires_at = expires_at - ?", installation.settings.sessions.invitation_s)
    void(installation, link)


def test_a_newer_link_takes_the_place_of_the_one_before(installation: Installation) -> None:
    old, new = (invite(installation, "ada", False, by=HERE) for _ in range(2))
    void(installation, old)
    assert accept(installation, new, "Ada", PASSWORD) == "ada"


def test_a_reset_gives_a_new_password_and_the_old_one_is_void_before_that(installation: Installation) -> None:
    person(installation, owner=True)
    link = accounts.reset(installation, "ada", by=HERE)
    assert refused(installation, "ada", PASSWORD).code == "sign-in"
    found = invited(installation, link)
    assert found is not None and (found.account, found.reset) == ("ada", True)
    accept(installation, link, "Countess", "a horse of another colour")
    caller = caller_of_session(installation, signed_in(installation, password="a horse of another colour"))
    assert caller is not None and caller.identity.owner and caller.name == "Ada"
    void(installation, link)


def test_a_disabled_account_is_not_reset_and_its_link_is_void(installation: Installation) -> None:
    person(installation)
    link = accounts.reset(installation, "ada", by=HERE)
    accounts.set_enabled(installation, "ada", False, by=HERE)
    void(installation, link)
    with pytest.raises(Refused, match="disabled"):
        accounts.reset(installation, "ada", by=HERE)


def test_accounts_are_not_made_over_others(installation: Installation) -> None:
    open_link = invite(installation, "ada", False, by=HERE)
    accept(installation, open_link, "Ada", PASSWORD)
    with pytest.raises(Refused, match="there is an account ada"):
        invite(installation, "ADA", False, by=HERE)
    for call in (accounts.reset, lambda *args, **more: accounts.set_enabled(*args, False, **more)):
        with pytest.raises(Refused, match="there is no account 'ben'"):
            call(installation, "ben", by=HERE)
    with pytest.raises(Refused, match="enabled already"):
        accounts.set_enabled(installation, "ada", True, by=HERE)


def test_owners_are_made_on_the_machine_only(installation: Installation) -> None:
    with pytest.raises(Refused) as caught:
        invite(installation, "eve", True, by=Identity(name="account:ada", owner=True))
    assert code_of(caught) == "forbidden" and trail(installation) == []


BAD = ["", "short", "x" * 257, "aaaaaaaaaaaa", "ada" * 4, "AdaAdaAdaAda", "half a character \ud800"]


@pytest.mark.parametrize("password", BAD)
def test_passwords_that_cannot_be_taken_use_up_no_link(installation: Installation, password: str) -> None:
    link = invite(installation, "ada", False, by=HERE)
    with pytest.raises(Refused) as caught:
        accept(installation, link, "Ada", password)
    assert code_of(caught) == "password"
    assert accept(installation, link, "Ada", "no rules of composition") == "ada"


@given(st.text(min_size=12, max_size=256))
def test_any_long_text_is_a_password(password: str) -> None:
    assert passwords.problem(password, "ada") == "" or len(set(password)) == 1 or not password.casefold().replace("ada", "")


def test_a_password_is_the_same_however_it_is_composed(installation: Installation) -> None:
    person(installation, password="pässword ﬁfty")
    assert signed_in(installation, password="pa\u0308ssword fifty")


@given(st.text(max_size=80))
@example("Ada")
@example("\u212aelvin")
def test_names_of_accounts_are_plain(text: str) -> None:
    name = account_name(text)
    assert account_name(name) == name and name.isascii() and len(name) <= 64
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789._@+-")


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "a\0", "ä", "a" * 65, "a\n", "account:a"])
def test_what_is_no_name_is_refused(installation: Installation, name: str) -> None:
    assert account_name(name) == "" or name.strip() != name
    if account_name(name) == "":
        with pytest.raises(Refused, match="cannot be the name"):
            invite(installation, name, False, by=HERE)


def token(installation: Installation, identity: str = "token:ci", *actions: Action, expires_s: float = 3600.0) -> tuple[str, str]:
    """The id and the text of a token."""
    made, text = accounts.create_token(
        installation, "ci", identity=identity, actions=actions or [Action.VIEW], expires_s=expires_s, by=HERE
    )
    return made.id, text


def test_a_token_acts_as_whom_it_says_for_what_it_says(installation: Installation) -> None:
    of, text = token(installation, "token:ci", Action.VIEW, Action.PLAN, Action.BREAK_GLASS)
    caller = caller_of_token(installation, text)
    assert caller is not None
    assert (caller.identity, caller.name, caller.session, caller.csrf) == (Identity(name="token:ci"), "ci", "", "")
    assert [action for action in Action if caller.may_use(action)] == [Action.VIEW, Action.PLAN], "no token breaks a glass"
    with installation.store.read() as connection:
        kept = repr(list(connection.rows("SELECT * FROM api_token"))) + repr(list(connection.rows("SELECT * FROM audit")))
    assert text not in kept and text.rpartition("_")[2] not in kept and of in kept
    assert trail(installation) == [("local:root", "token-made")]


def test_a_token_of_an_account_is_as_good_as_the_account(installation: Installation) -> None:
    person(installation, owner=True)
    _, text = token(installation, "account:ADA")
    caller = caller_of_token(installation, text)
    assert caller is not None and caller.identity == Identity(name="account:ada", owner=True)
    accounts.set_enabled(installation, "ada", False, by=HERE)
    assert caller_of_token(installation, text) is None
    accounts.set_enabled(installation, "ada", True, by=HERE)
    assert caller_of_token(installation, text) == caller


@pytest.mark.parametrize("identity", ["account:nobody", "local:root", "group:ops", "token:", "token:a b", "github:ada", "", "token:a\n"])
def test_a_token_acts_as_nobody_else(installation: Installation, identity: str) -> None:
    with pytest.raises(Refused):
        token(installation, identity)
    assert trail(installation) == []


def test_a_token_ends_when_it_expires_or_is_revoked(installation: Installation) -> None:
    (one, first), (two, second) = token(installation), token(installation)
    run(installation, "UPDATE api_token SET expires_at = expires_at - 3600 WHERE id = ?", one)
    assert caller_of_token(installation, first) is None and caller_of_token(installation, second) is not None
    ended = accounts.revoke_token(installation, two, by=BEN)
    assert ended.revoked_at is not None and caller_of_token(installation, second) is None
    for of in (two, "no such id"):
        with pytest.raises(Refused):
            accounts.revoke_token(installation, of, by=BEN)
    assert trail(installation)[-1] == ("account:ben", "token-revoked")


def test_the_use_of_a_token_is_written_once_a_minute(installation: Installation) -> None:
    of, text = token(installation)

    def last() -> float | None:
        with installation.store.read() as connection:
            found = load_token(connection, of)
        assert found is not None
        return found.last_used_at

    assert last() is None and caller_of_token(installation, text)
    first = last()
    assert first is not None and caller_of_token(installation, text) and last() == first
    run(installation, "UPDATE api_token SET last_used_at = last_used_at - 61")
    assert caller_of_token(installation, text) and (last() or 0) >= first


def test_the_secret_of_another_token_is_of_no_use(installation: Installation) -> None:
    (one, first), (two, second) = token(installation), token(installation)
    assert caller_of_token(installation, first.replace(one, two)) is None
    assert caller_of_token(installation, second.replace(two, "0" * 16)) is None


garbage = st.one_of(
    st.text(),
    st.text(st.characters(codec=None)),
    st.binary().map(lambda data: data.decode("latin-1")),
    st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.from_regex(COOKIE, fullmatch=True),
    st.from_regex(TOKEN, fullmatch=True),
    st.sampled_from(["", "\0" * 43, "A" * 10_000_000, "oft_" + "0" * 16 + "_" + "A" * 10_000_000, "oft__", "A" * 43 + "\n"]),
)


@pytest.fixture(scope="module")
def any_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One for all examples."""
    made = Installation(data_dir=tmp_path_factory.mktemp("data"), settings=Settings())
    assert first_link(made)  # the database and its tables are there
    yield made
    made.close()


@settings(deadline=None)
@given(text=garbage)
def test_what_is_no_cookie_or_token_is_nobody(any_installation: Installation, text: str) -> None:
    assert caller_of_session(any_installation, text) is None and caller_of_token(any_installation, text) is None
    assert invited(any_installation, text) is None
    sign_out(any_installation, text)


@settings(deadline=None)
@given(data=st.data())
def test_a_token_has_one_way_to_be_written(any_installation: Installation, data: st.DataObject) -> None:
    _, text = token(any_installation)
    assert caller_of_token(any_installation, text) is not None
    place, other = data.draw(st.integers(0, len(text) - 1)), data.draw(st.characters(codec=None))
    for changed in (text[:place] + other + text[place + 1 :], text[:place] + other + text[place:], text[:place], text + other, " " + text):
        assert (caller_of_token(any_installation, changed) is not None) == (changed == text)
