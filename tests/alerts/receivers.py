"""Receivers on this machine that speak as the services do, and a way to have apprise's own plugins reach them.

apprise sends to Slack and PagerDuty at fixed hosts. `Web` is an HTTPS server with certificates for these names, signed by a certificate authority of the
test, and `Web.environment` names a proxy that leads every name to it: what the plugins do, TLS and its verification included, is what they do
elsewhere. `answers` says in order how to answer: a status, `hang`, or `close`; then 200.
"""

import datetime
import json
import os
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SLACK, PAGERDUTY, TEAMS = "hooks.slack.com", "events.pagerduty.com", "prod.workflows.example.net"


@dataclass(frozen=True)
class Request:
    """What came: the host that was asked for, the path with its query, headers in lower case, and the JSON body."""

    host: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Web:
    """An HTTP server, and with `directory` an HTTPS one with a proxy before it."""

    answers: list[int | str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def web(directory: Path | None = None) -> Iterator[Web]:
    made = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.requests.append(Request(headers["host"], self.path, headers, json.loads(text)))
            answer = made.answers.pop(0) if made.answers else 200
            if answer == "hang":
                made.released.wait(60)
            if isinstance(answer, int):
                self.send_response(answer)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")
            self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_address[1]
    servers = [server]
    if directory is not None:
        server.socket = _certified(directory).wrap_socket(server.socket, server_side=True)
        servers.append(_proxy(made.port))
        proxy = f"http://127.0.0.1:{servers[1].server_address[1]}"
        made.environment = {"HTTPS_PROXY": proxy, "REQUESTS_CA_BUNDLE": str(directory / "ca.pem"), "NO_PROXY": ""}
    for one in servers:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        made.released.set()
        for one in servers:
            one.shutdown()
            one.server_close()


def _proxy(port: int) -> ThreadingHTTPServer:
    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as there:
                self.send_response(200)
                self.end_headers()
                ends = {self.connection: there, there: self.connection}
                while ready := select.select(list(ends), [], [], 60)[0]:
                    for one in ready:
                        data = one.recv(65536)
                        if not data:
                            return
                        ends[one].sendall(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    return server


def _certified(directory: Path) -> ssl.SSLContext:
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name: str, key: Any, issuer: str, by: Any, *extensions: tuple[Any, bool]) -> Any:
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        return made.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in (SLACK, PAGERDUTY, TEAMS)])
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    authority = (x509.BasicConstraints(ca=True, path_length=0), True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(root.public_key())
    (directory / "ca.pem").write_bytes(certificate("test", root, "test", root, authority, (usage, True), (identifier, False)))
    by = (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False)
    (directory / "server.pem").write_bytes(certificate("server", leaf, "test", root, (names, False), by))
    key = leaf.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.key").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    return context


@dataclass
class Mail:
    """A mail server: what came as (sender, receivers, message)."""

    messages: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    port: int = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append((envelope.mail_from, envelope.rcpt_tos, message))
        return "250 OK"


@contextmanager
def mail() -> Iterator[Mail]:
    made = Mail()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        made.port = free.getsockname()[1]
    controller = Controller(made, hostname="127.0.0.1", port=made.port)
    controller.start()
    try:
        yield made
    finally:
        controller.stop()


def without_proxies() -> dict[str, str]:
    """The environment of this process without its own proxies."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
