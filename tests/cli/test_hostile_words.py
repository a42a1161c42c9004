"""What people type as reasons, scopes, times and files of heads: refused with a word, and never told to a terminal as it is."""

from pathlib import Path

import pytest

from reconciler.cli.options import MOST_OF_A_REASON
from tests.apply.dying import forked
from tests.cli.command import quick
from tests.cli.test_gates import ENV, Site
from tests.fleets import octofleet

PAUSE = ("pause", "fleet", "--reason")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ((*PAUSE, ""), "say why"),
        ((*PAUSE, "  "), "say why"),
        ((*PAUSE, "a\nerror: b"), "one line of text"),
        ((*PAUSE, "\x1b[2J"), "one line of text"),
        ((*PAUSE, "x" * (MOST_OF_A_REASON + 1)), "one line of text"),
        ((*PAUSE, "why", "--for", "99999999999999d"), "is no duration"),
        ((*PAUSE, "why", "--for", "0s"), "is no duration"),
        ((*PAUSE, "why", "--for", "\u0663h"), "is no duration"),
        (("pause", "host/shop", "--reason", "why"), "host/shop is no scope"),
        (("pause", "host/shop/\x1b[2J", "--reason", "why"), "is no scope"),
        (("pause", "tenant/", "--reason", "why"), "is no scope"),
        (("audit", "list", "--since", "0001-01-01"), "no such time"),
        (("audit", "list", "--before", "9" * 30), "range"),
    ],
)
def test_it_is_refused_with_a_word(site: Site, args: tuple[str, ...], why: str) -> None:
    found = site(*args)
    assert found.code == 1 and why in found.err and "internal" not in found.err and "\x1b" not in found.err
    assert "there is no window, no freeze and no pause" in site("gates").out


def test_an_argument_that_is_no_text(site: Site) -> None:
    found = octofleet(site.data, *PAUSE, "\udcff")
    assert found.code == 1 and "an argument is not UTF-8" in found.err


def test_a_reason_keeps_no_password_anywhere(site: Site) -> None:
    assert site(*PAUSE, "see https://ada:hunter2@example.net/x").code == 0
    for args in (("gates",), ("gates", "--json"), ("status", "--why"), ("audit", "list", "--json")):
        assert "hunter2" not in site(*args).text
    assert site("resume", "fleet").code == 0


@pytest.mark.parametrize(
    "head",
    ['{"seq":-1,"hash":"x"}', '{"seq":99999999999999999999,"hash":"' + "0" * 64 + '"}', '{"seq":1,"hash":"\\ud800"}', "[" * 100_000, "[]"],
)
def test_what_is_no_head(site: Site, tmp_path: Path, head: str) -> None:
    (tmp_path / "head").write_text(head)
    for args in (("verify", "--head"), ("head", "--out")):
        found = site("audit", *args, str(tmp_path / "head"))
        assert found.code == 1 and "holds no head of an audit trail" in found.err


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"a":' * 5000, b"\xff", b"\x00"])
def test_what_is_no_row(site: Site, tmp_path: Path, line: bytes) -> None:
    (tmp_path / "rows").write_bytes(line + b"\n")
    found = site("audit", "verify", "--file", str(tmp_path / "rows"), "--json")
    assert found.code == 1 and found.json["wrong"]["what"] == "unreadable"


def test_an_error_tells_no_terminal_what_to_do(tmp_path: Path) -> None:
    found = quick(tmp_path / "data", "resume", "\x1b[2J", env=ENV)
    assert found.code == 1 and "\x1b" not in found.err and "there is no run \ufffd[2J" in found.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("args", [("audit",), ("audit", "export"), ("gates", "--json"), ("runs", "--json"), ("resume", "none", "--json")])
def test_a_full_disk_is_told(site: Site, tmp_path: Path, args: tuple[str, ...]) -> None:
    err = tmp_path / "err"
    code = forked(site.data, *args, env=ENV, log=Path("/dev/full"), err=err)
    said = err.read_text()
    assert code == 1 and "Traceback" not in said and "internal" not in said and "error: " in said
