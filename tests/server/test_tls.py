"""HTTPS: what is shaken hands on, and files that change while the server runs."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from reconciler import events
from reconciler.cli.doctor_http import certificate as looked_at
from reconciler.cli.finding import Finding
from reconciler.errors import OctofleetError
from reconciler.server import tls
from reconciler.server.tls import Certificate, Pair, certificate
from reconciler.settings import Http
from tests.server.certificates import write_pair
from tests.server.raw import PATIENCE_S, Answer, Server, get, read, server


@pytest.fixture
def heard() -> Iterator[list[str]]:
    found: list[str] = []

    def hear(name: str, fields: Mapping[str, Any]) -> None:
        found.append(name)

    events.listeners.append(hear)
    yield found
    events.listeners.remove(hear)


def shown(found: Server, *, newest: ssl.TLSVersion | None = None, name: str | None = "localhost") -> tuple[str, Answer]:
    """The name in the certificate, and the answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if newest is not None:
        context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, newest
        context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", found.port), timeout=PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=name) as made,
    ):
        made.sendall(get())
        raw = made.getpeercert(binary_form=True)
        assert raw is not None
        of = x509.load_der_x509_certificate(raw).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(of[0].value), read(made)


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_new_files_are_shown_and_broken_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: list[str]) -> None:
    monkeypatch.setattr(tls, "LOOK_S", 0.05)
    files = write_pair(tmp_path, "first")
    with server(certificate=Certificate(Pair(certificate=files[0], key=files[1]))) as found:
        name, answer = shown(found)
        assert (name, answer.json["https"]) == ("first", True) and answer.headers["Strict-Transport-Security"].startswith("max-age=")
        write_pair(tmp_path, "second")
        wait_for(lambda: "tls-renewed" in heard)
        assert shown(found)[0] == "second" and shown(found, name=None)[0] == "second", "with a name (SNI), and without"
        files[1].write_text("no key")
        wait_for(lambda: "tls-broken" in heard)
        assert shown(found)[0] == "second"
        files[0].unlink()
        wait_for(lambda: heard.count("tls-broken") == 2)
        assert shown(found)[0] == "second"
        write_pair(tmp_path, "third")
        wait_for(lambda: heard.count("tls-renewed") == 2)
        assert shown(found)[0] == "third"


def test_old_tls_and_plain_http_are_refused(tmp_path: Path) -> None:
    with server(certificate=certificate(tuple(map(str, write_pair(tmp_path))))) as found:
        with pytest.raises(ssl.SSLError):
            shown(found, newest=ssl.TLSVersion.TLSv1_1)
        assert shown(found, newest=ssl.TLSVersion.TLSv1_2)[1].status == 200
        with found.connected(get()) as made, pytest.raises((ConnectionError, IndexError, ValueError)):
            read(made)
        assert shown(found)[1].status == 200


def test_a_handshake_that_does_not_go_on_is_given_up(tmp_path: Path) -> None:
    with (
        server(certificate=certificate(tuple(map(str, write_pair(tmp_path)))), handshake_s=0.3) as found,
        found.connected(b"\x16\x03") as made,
    ):
        assert made.recv(10) == b""
        assert shown(found)[1].status == 200


def test_files_that_are_no_pair_are_told_without_what_is_in_them(tmp_path: Path) -> None:
    files = write_pair(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    key = write_pair(other)[1]
    for wrong in (key, tmp_path / "none.key", files[0]):
        with pytest.raises(OctofleetError, match=r"server\.pem|none\.key") as error:
            Certificate(Pair(certificate=files[0], key=wrong))
        assert error.value.hint and "BEGIN" not in error.value.message
    assert certificate(("", "")) is None


@pytest.mark.parametrize(("days", "status"), [(30, "ok"), (3, "warning"), (-1, "failed")])
def test_doctor_looks_at_the_certificate(tmp_path: Path, days: float, status: str) -> None:
    files = write_pair(tmp_path, days=days)
    found = looked_at(Http(tls_certificate=str(files[0]), tls_key=str(files[1])))
    assert (found.status if isinstance(found, Finding) else "ok") == status
    assert "days left" in str(found) or "not valid since" in str(found)
    files[1].chmod(0o644)
    opened = looked_at(Http(tls_certificate=str(files[0]), tls_key=str(files[1])))
    assert isinstance(opened, Finding) and (days < 0 or "everybody" in opened.found)
