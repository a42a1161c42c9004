"""The server behind HAProxy and nginx with the files of docs/deploy: who asks is who asked them, and streams are not kept back."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.conftest import program
from tests.ha.kept import Kept, until
from tests.ha.topology import DEPLOY, free_ports
from tests.server.certificates import write_pair
from tests.server.raw import PATIENCE_S, get, read, server

CLIENT = "127.0.0.2"
"""Another address of the loopback, which is no proxy."""


def replaced(text: str, changes: dict[str, str]) -> str:
    for there, here in changes.items():
        assert there in text, there
        text = text.replace(there, here)
    return text


def haproxy(directory: Path, front: int, behind: int, *, tls: bool) -> list[str]:
    pem, key = write_pair(directory)
    (directory / "both.pem").write_bytes(pem.read_bytes() + key.read_bytes())
    other, *dead = free_ports(6)
    places = {f"serve-{n}:8080": f"127.0.0.1:{port}" for n, port in zip((1, 2, 3), (behind, *dead[:2]), strict=True)}
    places |= {f"db-{n}:5432": f"127.0.0.1:{port}" for n, port in zip((1, 2), dead[2:4], strict=True)}
    places |= {
        "bind :5432": f"bind 127.0.0.1:{other}",
        "bind :8080": f"bind 127.0.0.1:{front}" + (f" ssl crt {directory}/both.pem" if tls else ""),
    }
    (directory / "haproxy.cfg").write_text(replaced((DEPLOY / "haproxy.cfg").read_text(), places))
    return [program("haproxy", "haproxy"), "-db", "-f", str(directory / "haproxy.cfg")]


def nginx(directory: Path, front: int, behind: int, *, tls: bool) -> list[str]:
    pem, key = write_pair(directory)
    places = {"listen 443 ssl": f"listen 127.0.0.1:{front}{' ssl' if tls else ''}", "127.0.0.1:8080": f"127.0.0.1:{behind}"}
    places |= {"/etc/octofleet/tls/server.pem": str(pem), "/etc/octofleet/tls/server.key": str(key)}
    (directory / "octofleet.conf").write_text(replaced((DEPLOY / "nginx.conf").read_text(), places))
    paths = "".join(f"{name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    whole = f"daemon off; pid {directory}/pid; error_log stderr; events {{}} http {{ access_log off; {paths} include {directory}/octofleet.conf; }}"
    (directory / "nginx.conf").write_text(whole)
    return [program("nginx", "nginx"), "-e", "stderr", "-c", str(directory / "nginx.conf")]


@contextmanager
def proxied(make: Callable[..., list[str]], directory: Path, behind: int, *, tls: bool) -> Iterator[Callable[[], socket.socket]]:
    """A proxy before a server; what connects to it from `CLIENT`."""
    (front,) = free_ports(1)
    running = Kept(make(directory, front, behind, tls=tls), cwd=directory, log=directory / "log", env={"PATH": "/usr/sbin:/usr/bin"})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def connect() -> socket.socket:
        made = socket.create_connection(("127.0.0.1", front), timeout=PATIENCE_S, source_address=(CLIENT, 0))
        return context.wrap_socket(made) if tls else made

    def answers() -> bool:
        assert running.alive, running.tail()
        try:
            with closing(connect()) as made:
                made.sendall(get())
                return read(made).status == 200
        except OSError:
            return False

    try:
        until(answers, "the proxy", within_s=PATIENCE_S)
        yield connect
    finally:
        running.kill()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("make", [haproxy, nginx])
def test_who_asks_is_who_asked_the_proxy(tmp_path: Path, make: Callable[..., list[str]], tls: bool) -> None:
    lies = ("X-Forwarded-For: 198.51.100.1", f"X-Forwarded-Proto: {'http' if tls else 'https'}", "Forwarded: for=198.51.100.2;proto=https")
    with server(trusted=("127.0.0.1",)) as found, proxied(make, tmp_path, found.port, tls=tls) as connect:
        for more in ((), lies):
            with closing(connect()) as made:
                made.sendall(get("/", *more))
                answer = read(made)
                assert answer.json == {"client": CLIENT, "https": tls}
                assert ("Strict-Transport-Security" in answer.headers) == tls
        with closing(connect()) as made:
            made.sendall(get("/events"))
            came = b""
            while b"data: first" not in came:
                came += (part := made.recv(1 << 16))
                assert part, "it was closed before the first event came"
            assert not found.stay.is_set()


def test_who_is_not_trusted_is_the_client_itself(tmp_path: Path) -> None:
    with server() as found, proxied(haproxy, tmp_path, found.port, tls=False) as connect, closing(connect()) as made:
        made.sendall(get())
        assert read(made).json == {"client": "127.0.0.1", "https": False}
