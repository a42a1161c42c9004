"""The demo, as a stranger runs it: by sshd where there is one, and by Ansible's local connection."""

import io
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from reconciler.cli import demo
from reconciler.cli.demo_machine import lacking
from tests.conftest import program

CHAPTERS = (
    "is valid: 66 manifests, 23 hosts",
    "123 done of 123 changes",
    "nothing to do: the fleet is as the commit wants it",
    "longest",
    "  distribution: ",
    "page.html",
    "Run ",
    '"web_server_name":',
    "profiles/linux.yaml:",
    "2 drift",
    "REFUSED by the guard protected",
    "Octofleet: can be applied",
    "10 resources locked",
    "issue_comment  202",
    "runs --limit 1",
    "done: 10 done",
    "+ create netboot/install/shop/web-02  [destructive, reinstall]",
    "it fetched its answer file",
    "it says: installed",
    "10 done of 10 changes",
    "9/9  Done",
)


@pytest.mark.parametrize("way", [pytest.param("sshd", marks=pytest.mark.slow), "local"])
def test_the_demo_tells_its_story_to_the_end(tmp_path: Path, way: str) -> None:
    program("ansible-playbook", "nothing: make setup installs it")
    if way == "sshd":
        program("sshd", "openssh-server")
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "reconciler.cli", "demo", "--dir", str(tmp_path / "demo"), *(["--local"] if way == "local" else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for line in CHAPTERS:
        assert line in done.stdout
    assert ("over SSH" if way == "sshd" else "by its local connection") in done.stdout
    real = not lacking()
    assert ("web-02 runs from its disk" if real else "it is told to boot its disk") in done.stdout
    assert ("The machine is simulated" not in done.stdout and "This program asks instead" not in done.stdout) is real
    everything = [
        path for path in (tmp_path / "demo").rglob("*") if path.is_file() and "machines" not in path.parts and "secrets" not in path.parts
    ]
    assert not [path for path in everything if b"only-for-this-demo" in path.read_bytes()], (
        "the secret is nowhere but in its store and on its machine"
    )
    assert not list((tmp_path / "demo" / "data" / "scratch").iterdir())
    assert "Start the server on this fleet now?" not in done.stdout, "nobody is there to answer"
    (told,) = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("octofleet serve ")]
    _serves(told.removeprefix("octofleet "), environment)


def _serves(told: str, environment: dict[str, str]) -> None:
    """The command that the demo names last starts a server, whose one-time link opens."""
    command = [sys.executable, "-m", "reconciler.cli", *shlex.split(told)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment | {"OCTOFLEET_LISTEN": "127.0.0.1:0"}) as server:
        try:
            assert server.stderr is not None
            link = next((found[0] for line in server.stderr if (found := re.search(r"http://\S+/\S+", line)) and "once" in line), "")
            with urllib.request.urlopen(link, timeout=60) as page:
                assert page.status == 200 and 'type="password"' in page.read().decode()
        finally:
            server.terminate()
            server.communicate()
    assert server.returncode == 0


@pytest.mark.parametrize(
    ("terminal", "variables", "asks"),
    [((True, True), {}, True), ((False, True), {}, False), ((True, False), {}, False), ((True, True), {"CI": "1"}, False)],
)
def test_it_asks_only_who_can_answer(
    terminal: tuple[bool, bool], variables: dict[str, str], asks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    for stream, is_one in zip(("stdin", "stdout"), terminal, strict=True):
        monkeypatch.setattr(f"sys.{stream}", Terminal(is_one))
    assert demo.is_asked() is asks


class Terminal(io.StringIO):
    """A stream that is a terminal, or is none."""

    def __init__(self, is_one: bool) -> None:
        super().__init__()
        self._is_one = is_one

    def isatty(self) -> bool:
        return self._is_one
