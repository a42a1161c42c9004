"""The real command as systemd runs it: a socket that is handed over, and what it says to systemd."""

import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import OctofleetError
from reconciler.server import systemd
from tests.conftest import ROOT, program
from tests.ha.kept import until
from tests.ha.topology import free_ports
from tests.server.certificates import write_pair
from tests.server.raw import PATIENCE_S

OCTOFLEET = (sys.executable, "-m", "reconciler.cli", "worker", "--json")


@contextmanager
def started(*command: str, data: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    known = {key: value for key, value in os.environ.items() if not key.startswith("OCTOFLEET_")}
    environment = known | {"OCTOFLEET_DATA_DIR": str(data), "PYTHONPATH": str(ROOT)} | env
    made = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield made
    finally:
        made.kill()
        made.communicate()


def health(url: str) -> Any:
    """What /healthz says; None if nobody answers."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=PATIENCE_S, context=context) as answer:
            return json.load(answer)
    except OSError:
        return None


def test_a_socket_of_systemd_is_taken_over(tmp_path: Path) -> None:
    """`systemd-socket-activate` listens, and starts the command when somebody comes."""
    (port,) = free_ports(1)
    activate = program("systemd-socket-activate", "systemd")
    pem, key = write_pair(tmp_path)
    told = {"OCTOFLEET_HTTP__TLS_CERTIFICATE": str(pem), "OCTOFLEET_HTTP__TLS_KEY": str(key)}
    passed = [f"--setenv={name}" for name in ("OCTOFLEET_DATA_DIR", "PYTHONPATH", *told)]
    with started(activate, f"--listen=127.0.0.1:{port}", *passed, *OCTOFLEET, data=tmp_path / "data", **told):
        until(lambda: health(f"https://127.0.0.1:{port}"), "an answer", within_s=PATIENCE_S)
        assert health(f"https://127.0.0.1:{port}")["role"] == "worker"


def test_what_is_said_to_systemd(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(PATIENCE_S)
        with started(
            *OCTOFLEET, data=tmp_path / "data", NOTIFY_SOCKET=str(tmp_path / "notify"), OCTOFLEET_LISTEN=f"127.0.0.1:{port}"
        ) as process:
            assert heard.recv(100) == b"READY=1"
            assert health(f"http://127.0.0.1:{port}")["ok"] is True
            assert heard.recv(100) == b"WATCHDOG=1"
            process.terminate()
            said = heard.recv(100)
            while said == b"WATCHDOG=1":
                said = heard.recv(100)
            assert said == b"STOPPING=1" and process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("tls", [False, True])
def test_a_container_asks_itself_whether_it_is_well(tmp_path: Path, tls: bool) -> None:
    """The program of the Dockerfile's HEALTHCHECK, with what the container has in its environment."""
    (port,) = free_ports(1)
    pem, key = write_pair(tmp_path)
    told = {"OCTOFLEET_LISTEN": f"0.0.0.0:{port}"}
    told |= {"OCTOFLEET_HTTP__TLS_CERTIFICATE": str(pem), "OCTOFLEET_HTTP__TLS_KEY": str(key)} if tls else {}
    (health_check,) = (line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("HEALTHCHECK"))
    command = json.loads(health_check.partition("CMD ")[2])
    assert command[0] == "/opt/octofleet/bin/python"

    def asked() -> int:
        with started(sys.executable, *command[1:], data=tmp_path / "data", **told) as probe:
            return probe.wait(PATIENCE_S)

    assert asked() == 1
    with started(*OCTOFLEET, data=tmp_path / "data", **told):
        until(lambda: asked() == 0, "health", within_s=PATIENCE_S)


def test_what_is_meant_for_another_process_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert systemd.inherited() is None and "LISTEN_FDS" not in os.environ


def test_several_sockets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    with pytest.raises(OctofleetError, match="hands over 2 sockets"):
        systemd.inherited()


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    systemd.notify("READY=1")
