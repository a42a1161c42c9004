"""Settings that are wrong: every one is told in our words, by its name, and with the line or the variable that said it."""

from pathlib import Path

import pytest

from reconciler.cli.main import run
from reconciler.errors import OctofleetError
from reconciler.settings import Settings, load_settings
from reconciler.settings_checked import line_of
from reconciler.wiring import open_installation
from tests.cli.command import quick

FILE = """\
# a comment
listen = "127.0.0.1:0"

[apply]
slots = 3

[[repositories]]
location = "/a"

[[repositories]]
poll_s = 1
location = "/b"

[secrets.stores."my.store"]
type = "env"
tenants = ["*"]
"""
LIMIT = "must be a whole number from 1 to 100000"
EMPTY = "is empty, and must be text, not empty"


def wrong(tmp_path: Path, text: str = "", **environment: str) -> str:
    """What is said of a file, without its directory, and of an environment."""
    (tmp_path / "octofleet.toml").write_text(text)
    with pytest.raises(OctofleetError) as caught:
        load_settings(tmp_path / "octofleet.toml", {f"OCTOFLEET_{name}": value for name, value in environment.items()})
    assert caught.value.code == "settings" and caught.value.hint
    return caught.value.message.replace(f"{tmp_path}/", "")


def load(**environment: str) -> Settings:
    return load_settings(Path("/nowhere"), {f"OCTOFLEET_{name}": value for name, value in environment.items()})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[apply]\n\nslots = 0\n", "octofleet.toml:3: apply.slots is 0, and must be a whole number from 1 to 1000"),
        ("[apply]\nslots = 1001\n", "octofleet.toml:2: apply.slots is 1001, and must be a whole number from 1 to 1000"),
        ("[apply]\nlease_s = 0.1\n", "octofleet.toml:2: apply.lease_s is 0.1, and must be a number from 0.3 to 3600"),
        ("[apply]\nstop_s = nan\n", "octofleet.toml:2: apply.stop_s is nan, and must be a number from 0 to 31536000"),
        ('log = "xml"\n', 'octofleet.toml:1: log is "xml", and must be `console` or `json`'),
        ("[memory]\nenabled = 7\n", "octofleet.toml:2: memory.enabled is 7, and must be true or false"),
        ("[apply]\nslot = 1\n", "octofleet.toml:2: apply.slot is no setting; did you mean slots?"),
        ("apply = 3\n", "octofleet.toml:1: apply is 3, and must be a table"),
        (
            "[apply.driver_limits]\nansible = 0\n",
            f"octofleet.toml:2: apply.driver_limits.ansible is 0, and {LIMIT}",
        ),
        (
            '[[repositories]]\nlocation = "a"\n[[repositories]]\nlocation = ""\n',
            f"octofleet.toml:4: repositories 2: location {EMPTY}",
        ),
        ("[[repositories]]\npoll_s = 3\n", "octofleet.toml:1: repositories 1: location is missing"),
        ("repositories = 3\n", "octofleet.toml:1: repositories is 3, and must be a list of tables"),
        ('database_url = ["postgresql://u:hunter2@h/d"]\n', "octofleet.toml:1: database_url is a list, and must be text"),
        ('[secrets.stores.one]\ntype = "env"\n', "octofleet.toml:1: secrets.stores.one.tenants is missing"),
    ],
)
def test_of_the_file(tmp_path: Path, text: str, said: str) -> None:
    assert wrong(tmp_path, text) == said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("APPLY__SLOTS", "many", 'OCTOFLEET_APPLY__SLOTS: apply.slots is "many", and must be a whole number from 1 to 1000'),
        ("LISTENN", "x", "OCTOFLEET_LISTENN: listenn is no setting; did you mean listen?"),
        ("APPLY", "x", 'OCTOFLEET_APPLY: apply is "x", and must be a table'),
        ("APPLY__DRIVER_LIMITS", "{ansible = 0}", f"OCTOFLEET_APPLY__DRIVER_LIMITS: apply.driver_limits.ansible is 0, and {LIMIT}"),
    ],
)  # fmt: skip
def test_of_the_environment(tmp_path: Path, name: str, value: str, said: str) -> None:
    assert wrong(tmp_path, "[retry]\nattempts = 2\n", **{name: value}) == said


def test_a_list_of_the_environment_that_is_none(tmp_path: Path) -> None:
    assert wrong(tmp_path, REPOSITORIES="/a").startswith("OCTOFLEET_REPOSITORIES is not a list or table as TOML writes it")


def test_all_of_them_at_once(tmp_path: Path) -> None:
    assert len(wrong(tmp_path, "x = 1\n[apply]\nslots = 0\ny = 2\n").splitlines()) == 3


def test_what_the_environment_says_is_read_by_the_settings_type() -> None:
    assert load(LISTEN="[::1]:8080").listen == "[::1]:8080"
    assert load(ANSIBLE__SSH_COMMON_ARGS="[x").ansible.ssh_common_args == "[x"
    assert load(APPLY__DRIVER_LIMITS="{ansible = 8}").apply.driver_limits == {"ansible": 8}
    assert load(APPLY__DRIVER_LIMITS__ANSIBLE="8").apply.driver_limits == {"ansible": 8}
    assert load(SECRETS__STORES__ONE__TYPE="env", SECRETS__STORES__ONE__TENANTS='["a"]').secrets.stores["one"].tenants == ["a"]
    assert [found.location for found in load(REPOSITORIES='[{location = "/a"}]').repositories] == ["/a"]


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("listen",), 2),
        (("apply", "slots"), 5),
        (("repositories", 0, "location"), 8),
        (("repositories", 1, "location"), 12),
        (("repositories", 1, "branch"), 10),
        (("secrets", "stores", "my", "store", "type"), 15),
        (("nowhere",), None),
    ],
)
def test_lines(place: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(FILE, place) == line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[repositories]]\nlocation = "/a/b"\n[[repositories]]\nlocation = "/a/../a/b/"\n', ":4: repositories 2: location is the repository of"),
        ('[[repositories]]\nlocation = "https://H/a.git"\n[[repositories]]\nlocation = "https://h/a/"\n', ":4: repositories 2: location is the repository of"),
        ('[[repositories]]\nlocation = "https://h/a?token=hunter2"\n', ":2: repositories 1: location cannot be followed: the URL https://h/a holds"),
        ('[[repositories]]\nlocation = "https://u:hunter2@h/a"\n', ":2: repositories 1: location cannot be followed: the URL https://h/a holds"),
        ('database_url = "sqlite:///x.db"\n', "octofleet.toml:1: database_url names x.db, which would be another file in each working directory: write sqlite:////"),
        ('database_url = "mysql://u:hunter2@h/x"\n', "octofleet.toml:1: database_url begins with mysql://, and must be sqlite:///PATH"),
        ('database_url = "sqlite:///"\n', "octofleet.toml:1: database_url names no file"),
        ('[boot]\ndirectory = "boot"\n', "octofleet.toml:2: boot.directory is boot, and must be an absolute path"),
        ('[http]\ntls_certificate = "a.pem"\ntls_key = "/a"\n', "octofleet.toml:2: http.tls_certificate is a.pem, and must be an absolute path"),
        ('[http]\ntls_certificate = "/a.pem"\n', "octofleet.toml:1: http.tls_key is empty: a certificate and its key go together"),
        ('[http]\ntrusted_proxies = ["10.0.0.1/8"]\n', "octofleet.toml:2: http.trusted_proxies 1 is no address or network: 10.0.0.1/8 has host bits set"),
        ('[blobs]\nstore = "s3"\n', "octofleet.toml:1: blobs.bucket is empty"),
    ],
)  # fmt: skip
def test_what_the_types_do_not_tell(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "octofleet.toml").write_text(text)
    with pytest.raises(OctofleetError) as caught:
        open_installation(tmp_path)
    assert said in caught.value.message and "hunter2" not in str(caught.value)


def test_a_data_directory_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OCTOFLEET_DATABASE_URL", raising=False)
    assert run(["status", "--data-dir", "data"]) == 0, capsys.readouterr().err
    assert (tmp_path / "data" / "octofleet.db").exists()


def test_a_repository_named_twice_on_the_command_line(tmp_path: Path) -> None:
    told = quick(tmp_path / "data", "serve", "--repo", "/a/b", "--repo", "/a/c/../b")
    assert told.code == 1 and "the repository /a/b is named twice" in told.err and "next:" in told.err
