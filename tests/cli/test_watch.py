"""`octofleet plan --watch` on a fleet that was applied: every edit is planned without a commit, and nothing of it can be applied."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.fleets import fleet, octofleet, repo


def test_edits_are_planned_as_they_are_saved(tmp_path: Path) -> None:
    git, data = repo(tmp_path / "git"), tmp_path / "data"
    assert octofleet(data, "apply", "--repo", str(git.path), "--approve").code == 0
    env = os.environ | {
        "OCTOFLEET_DATA_DIR": str(data),
        "OCTOFLEET_MEMORY__ENABLED": "true",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler.cli", "plan", "--watch"], cwd=git.path, env=env, stdout=out, stderr=out
        )
    try:
        said(log, "nothing to do")
        (git.path / "tenant.yaml").write_text(fleet()["tenant.yaml"] + "    timezone: Europe/Oslo\n")
        said(log, '"UTC" -> "Europe/Oslo"')
        said(log, "REFUSED by the guard working-copy")
        (git.path / "tenant.yaml").write_text("a: [\n")
        said(log, "tenant.yaml:")
        (git.path / "tenant.yaml").write_text(fleet()["tenant.yaml"])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    text = log.read_text()
    assert "Traceback" not in text
    assert "Apply exactly this" not in text
    assert octofleet(data, "plan", "--repo", str(git.path)).code == 0, "nothing of the working copy was kept"


def said(log: Path, text: str, within_s: float = 60) -> None:
    """Wait until it is printed."""
    until = time.monotonic() + within_s
    while text not in log.read_text():
        assert time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(0.1)
