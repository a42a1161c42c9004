"""The example's playbook with the real Ansible: predicts, converges, stays converged, heals, and never shows the secret."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.schemas.documents import EXAMPLE

SECRET = "t0ken-of-the-test"


class Playbook:
    """Runs site.yml on this machine as host web-01, below a directory of the test."""

    def __init__(self, program: str, directory: Path) -> None:
        self.program, self.root, self.directory = program, directory / "home" / "srv" / "www", directory
        self.extra: dict[str, Any] = {}

    def run(self, *options: str) -> tuple[dict[str, int], str]:
        """The recap's counts and all that was printed."""
        variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "web_root": str(self.root)}
        variables |= {"web_server_name": "www.shop.example.com", "web_app_token": SECRET} | self.extra
        inventory = self.directory / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"web-01": variables}}}))
        environment = {
            **os.environ,
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_HOME": str(self.directory / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
        }
        command = [self.program, "-i", str(inventory), "--tags", "web", *options, str(EXAMPLE / "ansible/web/site.yml")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.directory, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        recap = done.stdout.rpartition("web-01 ")[2].partition(":")[2].split()
        return {key: int(value) for key, value in (part.split("=") for part in recap)}, done.stdout + done.stderr

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.root.rglob("*"))} if self.root.exists() else {}


@pytest.fixture
def playbook(tmp_path: Path) -> Playbook:
    program = shutil.which("ansible-playbook", path=str(Path(sys.executable).parent))
    if program is None:
        missing("ansible-playbook", "pip install octofleet[ansible]")
    assert program is not None
    return Playbook(program, tmp_path)


def test_check_mode_on_an_empty_host_predicts_and_writes_nothing(playbook: Playbook) -> None:
    counts, text = playbook.run("--check", "--diff")
    assert counts["changed"] > 0
    assert counts["failed"] == 0
    assert "app.conf will be written" in text
    assert not playbook.root.exists()


def test_it_converges_once_and_heals_drift_without_showing_the_secret(playbook: Playbook) -> None:
    first, shown = playbook.run("--diff")
    assert first["changed"] > 0
    assert playbook.files().keys() == {"app.conf", "index.html", "app_token", "reload"}
    assert (playbook.root / "app_token").read_text() == SECRET + "\n"
    assert (playbook.root / "app_token").stat().st_mode & 0o777 == 0o600
    assert "port = 8080\nworkers = 1\ntimezone = Etc/UTC\n" in (playbook.root / "app.conf").read_text()

    files = playbook.files()
    second, again = playbook.run("--diff")
    assert (second["changed"], playbook.files()) == (0, files)

    (playbook.root / "app.conf").write_text("port = 1\n")
    predicted, drift = playbook.run("--check", "--diff", "-vv")
    assert predicted["changed"] > 0
    assert "-port = 1\n" in drift
    assert (playbook.root / "app.conf").read_text() == "port = 1\n"
    playbook.run()
    assert playbook.files() == files
    assert SECRET not in shown + again + drift


def test_without_a_token_there_is_no_token_file(playbook: Playbook) -> None:
    playbook.extra = {"web_port": 9090}
    playbook.run()
    assert "port = 9090\n" in (playbook.root / "app.conf").read_text()
