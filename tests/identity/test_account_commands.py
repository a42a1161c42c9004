"""`octofleet account` and `octofleet token`: what they print, what they refuse, and what a token may be made for."""

from pathlib import Path
from typing import Any

import pytest

from reconciler.accounts import LINK, accept
from reconciler.identity.local import whoami
from reconciler.signing_in import caller_of_token, invited
from reconciler.store.audit import entries
from reconciler.wiring import Installation, open_installation
from tests.cli.command import quick
from tests.fleets import Result
from tests.identity.people import PASSWORD, hasher
from tests.identity.test_commands import Fleet, forbidden, mapping

__all__ = ["hasher"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def opened(data: Path) -> Installation:
    return open_installation(data)


def made(result: Result) -> Any:
    assert result.code == 0, result.text
    return result.json


def test_an_account_from_its_link_to_its_end(data: Path, hasher: object) -> None:
    assert "there is no account" in quick(data, "account").out
    link = made(quick(data, "account", "add", "Ada", "--owner", "--json"))
    assert (link["name"], link["owner"], link["reset"], link["path"].startswith(LINK)) == ("ada", True, False, True)
    plain = quick(data, "account", "add", "ada")
    secret = plain.out.strip().removeprefix(LINK)
    assert plain.out.count("\n") == 1 and secret not in plain.err
    assert link["url"] == "" and "neither listen nor public_url" in plain.err
    whole = made(quick(data, "account", "add", "ben", "--json", env={"OCTOFLEET_LISTEN": "0.0.0.0:8080"}))
    assert whole["url"] == "http://127.0.0.1:8080" + whole["path"], "one that can be opened"
    installation = opened(data)
    assert invited(installation, link["path"].removeprefix(LINK)) is None, "the newer one counts"
    accept(installation, secret, "Ada", PASSWORD)
    [shown] = made(quick(data, "account", "--json"))["accounts"]
    assert (shown["identity"], shown["owner"], shown["hasPassword"], shown["disabledAt"]) == ("account:ada", False, True, None)
    assert made(quick(data, "account", "disable", "ada", "--json"))["disabledAt"]
    assert "disabled" in quick(data, "account", "list").out
    refused = quick(data, "account", "reset", "ada", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "account")
    assert quick(data, "account", "enable", "ada").code == 0
    assert made(quick(data, "account", "reset", "ada", "--json"))["reset"] is True
    assert "waits for a new password" in quick(data, "account").out
    for args in (("disable", "ben"), ("reset", "ben"), ("enable", "ada"), ("add", "ada"), ("add", "no name")):
        assert quick(data, "account", *args, "--json").json["error"]["code"] == "account"
    with installation.store.read() as connection:
        found = [row.action for row in reversed(entries(connection)) if row.identity == whoami()]
    assert found == ["account-invited"] * 3 + ["account-disabled", "account-enabled", "account-reset"]
    mine = quick(data, "token", "create", "mine", "--as", "account:ada")
    assert mine.code == 0 and "account:ada" in mine.err and "RoleMapping" not in mine.err
    installation.close()


def test_a_token_from_its_making_to_its_end(data: Path) -> None:
    assert "there is no token" in quick(data, "token").out
    plain = quick(data, "token", "create", "ci", "--allow", "view, apply", "--expires", "12h")
    text = plain.out.strip()
    assert plain.code == 0 and plain.out.count("\n") == 1 and text.rpartition("_")[2] not in plain.err
    installation = opened(data)
    caller = caller_of_token(installation, text)
    assert caller is not None and caller.identity.name == "token:ci" and caller.actions == {"view", "apply"}
    assert "until a RoleMapping in force binds token:ci" in plain.err
    other = made(quick(data, "token", "create", "nightly plans", "--as", "token:nightly", "--json"))
    assert (other["identity"], other["actions"], other["state"]) == ("token:nightly", ["plan", "view"], "live")
    assert other["expiresAt"] - other["madeAt"] == pytest.approx(90 * 86_400)
    shown = quick(data, "token", "--json")
    assert {item["label"] for item in made(shown)["tokens"]} == {"ci", "nightly plans"} and text not in shown.out
    assert text not in quick(data, "token", "list").out
    assert made(quick(data, "token", "revoke", other["id"], "--json"))["state"] == "revoked"
    assert caller_of_token(installation, other["token"]) is None and caller_of_token(installation, text) == caller
    assert quick(data, "token", "revoke", other["id"], "--json").json["error"]["code"] == "token"
    installation.close()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("no name",), "--as token:NAME"),
        (("",), "LABEL says what"),
        (("ci", "--as", "local:root"), "cannot act as"),
        (("ci", "--allow", "view,fly"), "'fly' is no action"),
        (("ci", "--allow", "break-glass"), "is no action that a token may do"),
        (("ci", "--expires", "367d"), "at most 366d"),
        (("ci", "--expires", "never"), "is no duration"),
    ],
)
def test_tokens_that_are_not_made(data: Path, args: tuple[str, ...], said: str) -> None:
    refused = quick(data, "token", "create", *args, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "usage") and said in refused.json["error"]["message"]
    assert made(quick(data, "token", "--json"))["tokens"] == []


def test_nobody_makes_a_token_that_may_more_than_he(tmp_path: Path) -> None:
    """An admin of one tenant makes those that act there, and nowhere else."""
    fleet = Fleet(tmp_path, ("admin", "shop"))
    rules = {
        "shop-token.yaml": mapping("shop-token", ("operator", "token:shop"), tenant="shop"),
        "lab-token.yaml": mapping("lab-token", ("operator", "token:lab"), tenant="lab"),
        "all-token.yaml": mapping("all-token", ("viewer", "token:all"), ("super-admin", "token:boss")),
        "ada.yaml": mapping("ada", ("viewer", "account:Ada"), tenant="shop"),
    }
    fleet.repo.commit(rules)
    applied = fleet("apply", "--approve", *fleet.where, "--break-glass", "a test")
    assert applied.code == 0, applied.text
    of = made(fleet("token", "create", "shop", "--json"))["id"]
    for name, what in (("lab", "tenant lab"), ("all", "all of fleet"), ("boss", "all of fleet"), ("new", "the installation")):
        assert what in forbidden(fleet("token", "create", name, "--json"))
    link = made(fleet("account", "add", "ada", "--json", "--break-glass", "a test"))["path"]
    installation = opened(fleet.data)
    accept(installation, link.removeprefix(LINK), "Ada", PASSWORD)
    installation.close()
    assert "may not manage-users" in forbidden(fleet("token", "create", "x", "--as", "account:ada", "--json"))
    lab = made(fleet("token", "create", "lab", "--json", "--break-glass", "a test"))["id"]
    forbidden(fleet("token", "revoke", lab, "--json"))
    forbidden(fleet("token", "revoke", "no-such-id", "--json"))
    assert made(fleet("token", "revoke", of, "--json"))["state"] == "revoked"


@pytest.mark.parametrize("args", [("disable", "ada"), ("enable", "ada"), ("reset", "ada")])
def test_every_word_about_accounts_asks(tmp_path: Path, args: tuple[str, ...]) -> None:
    fleet = Fleet(tmp_path, ("admin", ""))
    assert "may not manage-users the installation" in forbidden(fleet("account", *args, "--json"))
