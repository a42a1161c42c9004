"""What a link to the server begins with."""

import socket
from pathlib import Path

import pytest

from reconciler.cli.address import NOTED, begins, note, noted, opened_at, said
from reconciler.settings import Forge, Http, Settings

PUBLIC = Forge(name="hub", type="github", public_url="https://octofleet.example.com/")


@pytest.mark.parametrize(
    ("listening", "link"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://fleet.example.com:8080", "http://fleet.example.com:8080"),
        ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://[::]:8080", "http://[::1]:8080"),
        ("https://0.0.0.0:8443", f"https://{socket.getfqdn()}:8443"),
        ("https://[::]:8443", f"https://{socket.getfqdn()}:8443"),
    ],
)
def test_a_link_can_be_opened(listening: str, link: str) -> None:
    found, remark = opened_at(listening)
    assert found == link and bool(remark) == ("0.0.0.0" in listening or "[::]" in listening)


def test_where_people_reach_it_goes_before_where_it_listens() -> None:
    assert begins(Settings(forges=[PUBLIC]), "http://0.0.0.0:8080") == ("https://octofleet.example.com", "")
    assert begins(Settings(), "http://127.0.0.1:1") == ("http://127.0.0.1:1", "")
    assert begins(Settings(), "") == ("", "")
    assert said(Settings()) == "" and said(Settings(listen="[::]:80")) == "http://[::]:80"
    assert said(Settings(listen="[::]:80", http=Http(tls_certificate="c", tls_key="k"))) == "https://[::]:80"


def test_a_server_notes_where_it_listens_while_it_does(tmp_path: Path) -> None:
    assert note(tmp_path) == ""
    with noted(tmp_path, "http://127.0.0.1:1"):
        assert note(tmp_path) == "http://127.0.0.1:1"
        with noted(tmp_path, "http://127.0.0.1:2"):
            assert note(tmp_path) == "http://127.0.0.1:2", "the one that came last"
    assert not (tmp_path / NOTED).exists()
    with noted(tmp_path, "http://127.0.0.1:1"):
        (tmp_path / NOTED).write_text("http://127.0.0.1:2")
    assert note(tmp_path) == "http://127.0.0.1:2", "another's is left alone"
