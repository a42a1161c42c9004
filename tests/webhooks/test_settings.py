"""Forges in the settings: what is wrong is told with its line; without a secret or a token `octofleet serve` does not start."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler.errors import OctofleetError
from reconciler.plugins import Part, Serves, load_checks
from reconciler.settings import Forge as Rules
from reconciler.wiring import open_installation
from tests.peers.forges.double import BOT, TOKEN, Fault
from tests.peers.forges.github import GithubDouble
from webhooks.forge import Denied
from webhooks.forges import MODULES, make_forge, secrets_of
from webhooks.plugin import octofleet_serves

REPOSITORY = '[[repositories]]\nlocation = "file:///r"\nforge = "hub"\nproject = "acme/fleet"\n'
FORGE = '[[forges]]\nname = "hub"\ntype = "github"\n'
GOOD = REPOSITORY + FORGE + 'token_env = "HUB_TOKEN"\npoll_s = 60\n'


def said(tmp_path: Path, text: str) -> str:
    (tmp_path / "octofleet.toml").write_text(text)
    with pytest.raises(OctofleetError) as caught:
        open_installation(tmp_path)
    assert caught.value.code == "settings"
    return caught.value.message.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (REPOSITORY, "octofleet.toml:3: repositories 1: forge is hub, and none of [[forges]] has that name"),
        (
            '[[repositories]]\nlocation = "file:///r"\nproject = "acme/fleet"\n',
            "octofleet.toml:1: repositories 1 needs both forge and project",
        ),
        (GOOD + REPOSITORY.replace("/r", "/s"), "octofleet.toml:13: repositories 2: project is followed already, as acme/fleet of hub"),
        (GOOD + REPOSITORY.replace("/r", "/s").replace("acme", "ACME"), "octofleet.toml:13: repositories 2: project is followed already"),
        (GOOD + GOOD.removeprefix(REPOSITORY), "octofleet.toml:11: forges 2: name is the name of forges 1 too"),
        (
            GOOD
            + GOOD.replace('"hub"', '"lab"').replace("acme", "beta").replace('"/r"', '"/s"')
            + 'url = "https://git.example.net/api/v3"\n',
            "is another github than hub",
        ),
        (GOOD.replace("hub", "no hub"), "must be text that matches"),
        (GOOD.replace("poll_s = 60", ""), "octofleet.toml:5: forges 1 has no secret and does not poll"),
        (GOOD + 'secret_files = ["/a", "/b"]\nsecrets_env = ["C"]\n', "octofleet.toml:5: forges 1 has more than two secrets"),
        (GOOD.replace('token_env = "HUB_TOKEN"', ""), "octofleet.toml:5: forges 1 needs one way to authenticate"),
        (GOOD + 'token_file = "/t"\n', "octofleet.toml:5: forges 1 needs one way to authenticate"),
        (GOOD + 'app_id = "1"\napp_key_file = "/k"\n', "octofleet.toml:5: forges 1 needs one way to authenticate"),
        (GOOD.replace('token_env = "HUB_TOKEN"', 'app_id = "1"'), "octofleet.toml:5: forges 1 needs both app_id and app_key_file"),
        (GOOD + 'url = "https://me:secret@hub"\n', "octofleet.toml:10: forges 1: url must be the URL of its API"),
        (GOOD + 'public_url = "octofleet"\n', "octofleet.toml:10: forges 1: public_url must be the URL of this server"),
        (GOOD + 'url = "ftp://hub"\n', "octofleet.toml:10: forges 1: url must be the URL of its API"),
        (
            GOOD.replace("file:///r", "/r"),
            "octofleet.toml:2: repositories 1: location must be a URL for a repository with a forge, such as https",
        ),
        (GOOD.replace(REPOSITORY, ""), "octofleet.toml:1: forges 1 is named by none of [[repositories]]"),
    ],
)
def test_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    found = said(tmp_path, text)
    assert told in found and "secret@" not in found


def parts(tmp_path: Path, text: str) -> list[Part]:
    (tmp_path / "octofleet.toml").write_text(text)
    installation = open_installation(tmp_path)
    serves = Serves(installation=installation, repositories=installation.settings.repositories, worker="w", wake=lambda: None)
    return list(octofleet_serves(serves))


def test_no_secret_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", TOKEN)
    listen, file = 'listen = "127.0.0.1:0"\n', tmp_path / "secret"
    with_file = listen + GOOD + f'secret_files = ["{file}"]\n'
    for text, told in (
        (with_file, f"octofleet.toml:11: forges 1: secret_files: cannot read {file}: No such file"),
        (listen + GOOD + 'secrets_env = ["HUB_SECRET"]\n', "octofleet.toml:11: forges 1: secrets_env: the variable HUB_SECRET is not set"),
        (listen + GOOD.replace("HUB_TOKEN", "OTHER"), "octofleet.toml:9: forges 1: token_env: the variable OTHER is not set"),
    ):
        with pytest.raises(OctofleetError, match="pull-requests") as caught:
            parts(tmp_path, text)
        assert told in caught.value.message
    file.write_text("\n")
    with pytest.raises(OctofleetError, match="is empty"):
        parts(tmp_path, with_file)
    file.write_text("one\ntwo\n")
    with pytest.raises(OctofleetError, match="holds more than one line"):
        parts(tmp_path, with_file)
    file.write_text("s3cret\n")
    with pytest.raises(OctofleetError, match="the setting listen names no address"):
        parts(tmp_path, with_file.removeprefix(listen))
    assert [route[:2] for part in parts(tmp_path, with_file) for route in part.routes] == [("POST", "/webhooks/{forge}")]


def test_secrets_are_read_anew_and_one_that_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text(" one \n")
    second.write_text("two")
    read = secrets_of(Rules(name="hub", type="github", secret_files=[str(first), str(second)], secrets_env=["HUB_SECRET"]))
    assert read() == ["one", "two"]
    (tmp_path / "new").write_text("three")
    (tmp_path / "new").replace(first)
    monkeypatch.setenv("HUB_SECRET", "four")
    assert read() == ["three", "two", "four"]
    first.write_text("")
    second.unlink()
    assert read() == ["four"], "one is being replaced"
    monkeypatch.delenv("HUB_SECRET")
    with pytest.raises(OctofleetError, match="is empty"):
        read()


@pytest.mark.parametrize("kind", MODULES)
def test_a_token_that_cannot_be_read_any_more_is_denied(tmp_path: Path, kind: str) -> None:
    (tmp_path / "token").write_text("")
    client = make_forge(Rules(name="hub", type=kind, url="http://127.0.0.1:9", token_file=str(tmp_path / "token"))).client  # type: ignore[arg-type]
    for question in (client.pull("acme/fleet", 1), client.account()):
        with pytest.raises(Denied, match="token is empty"):
            asyncio.run(question)  # type: ignore[arg-type]


def test_a_forge_that_only_polls_has_no_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", TOKEN)
    found = parts(tmp_path, GOOD)
    assert found and not [route for part in found for route in part.routes]
    assert parts(tmp_path, "") == []


def test_what_the_variable_says_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forge = '{name = "hub", type = "github", token_env = "HUB_TOKEN", poll_s = 60}'
    monkeypatch.setenv("OCTOFLEET_FORGES", f"[{forge}]")
    with pytest.raises(OctofleetError) as caught:
        parts(tmp_path, REPOSITORY)
    assert caught.value.message.startswith("OCTOFLEET_FORGES: forges 1: token_env: the variable HUB_TOKEN is not set")


def test_doctor_looks_at_each_forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", TOKEN)
    double = GithubDouble()
    double.project("acme/fleet", tmp_path)
    with double.running():
        text = GOOD + f'url = "{double.url}"\n'
        (tmp_path / "octofleet.toml").write_text(text)
        (check,) = load_checks(open_installation(tmp_path))
        assert (check.name, check.look()) == ("forge hub", f"github as {BOT}, 4,998 calls left")
        double.faults.append(Fault(502))
        with pytest.raises(OctofleetError, match="502"):
            check.look()
        monkeypatch.setenv("HUB_TOKEN", "wrong")
        with pytest.raises(OctofleetError, match="401") as caught:
            check.look()
        assert "wrong" not in str(caught.value) and "token" in caught.value.hint
        monkeypatch.delenv("HUB_TOKEN")
        with pytest.raises(OctofleetError, match="HUB_TOKEN is not set"):
            check.look()
        monkeypatch.setenv("HUB_TOKEN", TOKEN)
        secret = tmp_path / "secret"
        secret.write_text("s3cret")
        heard = f'listen = "127.0.0.1:0"\n{text}secret_files = ["{secret}"]\n'
        for changed, mode, told in (
            (heard.replace("acme/fleet", "acme/flet"), 0o600, "the pull requests of acme/flet cannot be read"),
            (heard, 0o644, f"everybody on this machine can read {secret}"),
            (heard.partition("\n")[2], 0o600, "listen names no address"),
        ):
            secret.chmod(mode)
            (tmp_path / "octofleet.toml").write_text(changed)
            (check,) = load_checks(open_installation(tmp_path))
            with pytest.raises(OctofleetError, match=told):
                check.look()
    assert load_checks(SimpleNamespace(settings=SimpleNamespace(forges=[]))) == []
