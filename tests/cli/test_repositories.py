"""Repositories that are missing, rewritten, foreign or shared; directories that cannot be written; the order of files and keys."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pygit2
import pytest

from tests.cli.command import quick
from tests.conftest import ROOT
from tests.fleets import FLEET, TENANT, Repo, Result, fleet, host, octofleet, repo


def clear(result: Result, *said: str) -> None:
    """A clear error: exit 1, what is wrong, the next step, no traceback."""
    assert result.code == 1, result.text
    assert "Traceback" not in result.text and "internal error" not in result.text, result.text
    assert "next: " in result.text or '"hint": "' in result.text, result.text
    for part in said:
        assert part in result.text, result.text


def test_repositories_that_are_none(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (tmp_path / "plain").mkdir()
    pygit2.init_repository(str(tmp_path / "empty"))
    clear(quick(data, "plan", "--repo", str(tmp_path / "gone")), "gone is not there")
    clear(quick(data, "plan", "--repo", str(tmp_path / "plain")), "plain")
    clear(quick(data, "plan", "--repo", str(tmp_path / "empty")), "empty")
    made = repo(tmp_path / "repo")
    clear(quick(data, "plan", "--repo", str(made.path), "--rev", "mian"), "mian")
    nothing = repo(tmp_path / "nothing", {"README": "no manifests"})
    result = quick(data, "plan", "--repo", str(nothing.path))
    assert result.code == 1 and "no YAML file" in result.text and "octofleet init" in result.text


def test_a_force_pushed_branch(tmp_path: Path) -> None:
    made, data = repo(tmp_path / "repo"), tmp_path / "data"
    where = ("--repo", str(made.path))
    assert quick(data, "apply", "--approve", *where).code == 0
    git = pygit2.Repository(str(made.path))
    who = pygit2.Signature("x", "x@x")
    rewritten = git.create_commit(None, who, who, "rewritten", git.head.peel(pygit2.Commit).tree_id, [])
    git.references.create("refs/heads/main", rewritten, force=True)
    clear(quick(data, "plan", *where), "does not come after it", "--accept-history")
    clear(quick(data, "apply", "--approve", *where), "does not come after it")
    assert quick(data, "plan", *where, "--accept-history").code == 0


def test_an_unrelated_repository_with_the_same_fleet_name(tmp_path: Path) -> None:
    first, data = repo(tmp_path / "first"), tmp_path / "data"
    assert quick(data, "apply", "--approve", "--repo", str(first.path)).code == 0
    second = repo(tmp_path / "second", fleet(hosts=1) | {"more.yaml": "# unrelated\n"})
    clear(quick(data, "apply", "--approve", "--repo", str(second.path)), "rename this Fleet")
    assert quick(data, "plan", "--refresh", "--repo", str(first.path)).code == 0


def test_two_repositories_on_one_installation_leave_each_other_alone(tmp_path: Path) -> None:
    first, data = repo(tmp_path / "first"), tmp_path / "data"
    files = fleet(hosts=0) | {
        "fleet.yaml": FLEET.replace("test", "other"),
        "tenant.yaml": TENANT.replace("shop", "lab"),
        "host.yaml": host("lab-01", 1, tenant="lab"),
    }
    second = repo(tmp_path / "second", files)
    for _ in range(2):
        for made in (first, second):
            assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
    for made in (first, second):
        assert quick(data, "plan", "--refresh", "--repo", str(made.path)).code == 0
    assert (data / "boot/shop/web-01").is_dir() and (data / "boot/lab/lab-01").is_dir()
    second.commit({"tenant2.yaml": TENANT, "grab.yaml": host("web-01", 9)})
    plan = quick(data, "plan", "--json", "--repo", str(second.path))
    assert plan.code == 3 and not plan.json["changes"]
    assert {item["code"] for item in plan.json["deferred"]} == {"owned-elsewhere"} and "test" in plan.json["deferred"][0]["reason"]


def shuffled(path: Path, files: dict[str, str], seed: int) -> Repo:
    """The same manifests in other files, another order, and with their keys turned round."""
    order = random.Random(seed)
    texts = list(files.values())
    order.shuffle(texts)

    def turned(text: str) -> str:
        top, blocks = [], []
        for line in text.splitlines():
            (blocks.append([line]) if not line.startswith((" ", "#")) else blocks[-1].append(line))
        top = ["\n".join(block) for block in blocks]
        order.shuffle(top)
        return "\n".join(top) + "\n"

    half = len(texts) // 2
    return repo(path, {"z/one.yaml": "---\n".join(map(turned, texts[:half])), "a.yml": "---\n".join(map(turned, texts[half:]))})


def test_the_order_of_files_and_keys_never_changes_a_plan_id(tmp_path: Path) -> None:
    files = fleet(hosts=4)
    plain = quick(tmp_path / "plain", "plan", "--json", "--repo", str(repo(tmp_path / "repo", files).path)).json
    for seed in range(4):
        made = shuffled(tmp_path / f"repo-{seed}", files, seed)
        found = quick(tmp_path / f"data-{seed}", "plan", "--json", "--repo", str(made.path)).json
        assert (found["id"], len(found["changes"])) == (plain["id"], len(plain["changes"]))


NOBODY = 65534


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_read_only_data_directory(tmp_path: Path) -> None:
    made, data = repo(tmp_path / "repo"), tmp_path / "data"
    assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
    subprocess.run(["mount", "--bind", str(data), str(data)], check=False)
    if subprocess.run(["mount", "-o", "remount,ro,bind", str(data)], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        for args in (("plan",), ("apply", "--approve")):
            clear(quick(data, *args, "--repo", str(made.path)), str(data))
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)
    assert quick(data, "plan", "--repo", str(made.path)).code == 0


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    clear(quick(tmp_path / "data", "plan", "--repo", str(repo(tmp_path / "repo").path)), "data")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("spare", [0, 200_000])
def test_a_full_disk(tmp_path: Path, small: Path, spare: int) -> None:
    made, data = repo(tmp_path / "repo", fleet(hosts=10)), small / "data"
    data.mkdir()
    assert quick(data, "runs").code == 0
    free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
    (small / "filler").write_bytes(b"x" * max(0, free - spare - 8192))
    result = quick(data, "apply", "--approve", "--repo", str(made.path), logs=tmp_path)
    clear(result)
    whole = {path: path.read_bytes() for path in (data / "boot").rglob("*") if path.is_file()}
    assert not [path for path in whole if path.name.startswith(".octofleet-")] and all(whole.values())
    (small / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small)], check=True)
    again = quick(data, "apply", "--approve", "--repo", str(made.path))
    assert again.code == 0, again.text
    assert quick(data, "plan", "--refresh", "--repo", str(made.path)).code == 0
    assert all(path.read_bytes() == text for path, text in whole.items())


def test_a_second_apply_helps_the_first(tmp_path: Path) -> None:
    made, data = repo(tmp_path / "repo"), tmp_path / "data"
    slow = {"OCTOFLEET_MEMORY__OPERATION_S": "4"}
    env = os.environ | {"OCTOFLEET_DATA_DIR": str(data), "OCTOFLEET_MEMORY__ENABLED": "1"} | slow
    command = [sys.executable, "-m", "reconciler.cli", "apply", "--approve", "--repo", str(made.path)]
    with subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first:
        while "waiting" not in states(data):
            assert first.poll() is None
        second = quick(data, "apply", "--approve", "--repo", str(made.path), env=slow)
        assert second.code == 0 and "is under way; finishing it first" in second.err, second.text
        said, _ = first.communicate(timeout=60)
    assert first.returncode == 0, said


def states(data: Path) -> set[str]:
    """The states of all steps in the journal."""
    import sqlite3

    if not (data / "octofleet.db").exists():
        return set()
    with sqlite3.connect(data / "octofleet.db", timeout=10) as database:
        try:
            return {state for (state,) in database.execute("select state from step")}
        except sqlite3.OperationalError:
            return set()


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_stopped_by_a_signal_the_next_apply_goes_on(tmp_path: Path, signal: str) -> None:
    import signal as signals

    made, data = repo(tmp_path / "repo", fleet(hosts=1)), tmp_path / "data"
    env = os.environ | {"OCTOFLEET_DATA_DIR": str(data), "OCTOFLEET_MEMORY__ENABLED": "1", "OCTOFLEET_MEMORY__OPERATION_S": "3"}
    command = [sys.executable, "-m", "reconciler.cli", "apply", "--approve", "--repo", str(made.path)]
    with subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first:
        while "waiting" not in states(data):
            assert first.poll() is None
        first.send_signal(getattr(signals, signal))
        said, _ = first.communicate(timeout=60)
    assert first.returncode == (-9 if signal == "SIGKILL" else 3), said
    assert "Traceback" not in said
    assert quick(data, "status").code == 3
    (run,) = quick(data, "runs", "--json").json["runs"]
    assert run["state"] == "running"
    if signal == "SIGTERM":
        assert quick(data, "cancel", run["run"], "--reason", "a test").code == 0
        assert quick(data, "cancel", run["run"], "--reason", "a test").code == 1
    again = quick(data, "apply", "--approve", "--repo", str(made.path))
    assert again.code == 0, again.text
    assert ("was interrupted; finishing it first" in again.err) is (signal != "SIGTERM")
    assert quick(data, "plan", "--refresh", "--repo", str(made.path)).code == 0


def test_an_expired_plan_is_refused(tmp_path: Path) -> None:
    import time

    made = repo(tmp_path / "repo", fleet(hosts=1) | {"fleet.yaml": FLEET + "  planExpiry: 1s\n"})
    plan = quick(tmp_path / "data", "plan", "--json", "--repo", str(made.path)).json
    time.sleep(1.1)
    clear(quick(tmp_path / "data", "apply", plan["id"], "--approve"), "has expired")


def test_the_real_command_reports_errors_as_json(tmp_path: Path) -> None:
    result = octofleet(tmp_path / "data", "plan", "--repo", str(tmp_path / "gone"), "--json")
    assert result.code == 1 and result.err == "" and result.json["error"]["hint"]
