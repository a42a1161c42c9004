"""Every command through a fresh interpreter: exit codes, and with `--json` one document on stdout and nothing else."""

# ruff: noqa: E501 - tables read better with one case on a line

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.options import fitted
from tests.cli.command import quick
from tests.conftest import ROOT
from tests.fleets import FLEET, fleet, host, octofleet, repo


def test_the_first_hour_of_a_user(tmp_path: Path) -> None:
    directory, data = tmp_path / "mine", tmp_path / "data"
    made = octofleet(data, "init", str(directory), "--json")
    assert made.code == 0 and len(made.json["commit"]) == 40
    assert octofleet(data, "init", str(directory)).code == 1
    where = ("--repo", str(directory))
    assert octofleet(data, "validate", *where).code == 0
    plan = octofleet(data, "plan", *where, "--json")
    assert plan.code == 2 and plan.err == ""
    assert {"id", "commit", "base", "applyable", "complete", "summary", "changes", "deferred", "guards", "problems"} <= set(plan.json)
    run = octofleet(data, "apply", plan.json["id"][:12], "--json")
    assert run.code == 0 and run.json["complete"] and set(run.json["summary"]) == {"done"}
    assert octofleet(data, "plan", *where).code == 0
    status = octofleet(data, "status", "--json")
    assert status.code == 0 and status.json["sources"][0]["name"] == "main"


@pytest.fixture
def applied(tmp_path: Path) -> tuple[Path, str]:
    made = repo(tmp_path / "repo")
    assert quick(tmp_path / "data", "apply", "--approve", "--repo", str(made.path)).code == 0
    return tmp_path / "data", str(made.path)


def test_reading_commands_after_an_apply(applied: tuple[Path, str]) -> None:
    data, where = applied
    runs = quick(data, "runs", "--json").json["runs"]
    assert [run["state"] for run in runs] == ["done"]
    logs = quick(data, "logs", runs[0]["run"][:12], "--json").json
    assert {item["status"] for item in logs["changes"]} == {"done"} and logs["log"]
    assert quick(data, "logs", "nope").code == 1
    said = quick(data, "explain", "host/web-01", "spec.packages", "--repo", where, "--json").json["values"][0]["settings"]
    assert [(item["origin"]["path"], item["origin"]["line"], item["value"]) for item in said] == [
        ("fleet.yaml", 7, ["curl"]),
        ("profile.yaml", 7, ["vim"]),
    ]
    assert quick(data, "explain", "host/shop/web-01", "spec.nothing", "--repo", where).code == 1
    near = quick(data, "explain", "host/wbe-01", "--repo", where)
    assert near.code == 1 and "no host/wbe-01" in near.err
    files = quick(data, "render", "web-01", "--repo", where, "--json").json["files"]
    assert any("web-01" in text for text in files.values())
    assert quick(data, "render", "web-01", "--repo", where, "--out", str(data.parent / "out")).code == 0
    assert {str(p.relative_to(data.parent / "out")) for p in (data.parent / "out").rglob("*") if p.is_file()} == set(files)
    assert {item["ok"] for item in quick(data, "doctor", "--json").json["findings"] if item["name"] in ("database", "data directory")} == {
        True
    }
    assert quick(data, "drift", "--json").code == 0


def test_drift_is_found_named_and_healed(applied: tuple[Path, str]) -> None:
    data, where = applied
    (file,) = (data / "boot/shop/web-01").rglob("user-data")
    before = file.read_bytes()
    file.write_bytes(b"by hand\n")
    found = quick(data, "drift", "--json")
    assert found.code == 2 and found.json["summary"]["byCause"] == {"drift": 1}
    assert quick(data, "status", "--json").code == 2
    assert "boot/user-data/shop/web-01" in quick(data, "status", "--why").out
    assert quick(data, "drift", "--heal").code == 3, "without a terminal it waits for approval"
    healed = quick(data, "drift", "--heal", "--approve", "--json")
    assert healed.code == 0 and healed.json["summary"] == {"done": 1}
    assert file.read_bytes() == before
    assert quick(data, "drift").code == 0 and quick(data, "plan", "--repo", where).code == 0


def test_forget_leaves_the_world_and_the_next_plan_adopts(applied: tuple[Path, str]) -> None:
    data, where = applied
    done = quick(data, "forget", "host/shop/web-01", "--reason", "moved elsewhere", "--json")
    assert done.code == 0 and len(done.json["forgotten"]) >= 5
    assert (data / "boot/shop/web-01").is_dir()
    assert quick(data, "forget", "host/shop/web-01", "--reason", "again").code == 1
    actions = quick(data, "plan", "--repo", where, "--json").json["summary"]["byAction"]
    assert set(actions) <= {"adopt", "create"} and actions["adopt"] >= 5


def test_exit_codes_of_guards_and_approval(applied: tuple[Path, str]) -> None:
    data, where = applied
    many = repo(data.parent / "many", fleet(hosts=6) | {"fleet.yaml": FLEET.replace("name: test", "name: many"), "tenant.yaml": fleet()["tenant.yaml"].replace("shop", "lab")} | {
        f"host-{n}.yaml": host(f"web-{n:02d}", n, tenant="lab") for n in range(1, 7)})  # fmt: skip
    assert quick(data, "apply", "--approve", "--repo", str(many.path)).code == 0
    many.commit({f"host-{n}.yaml": None for n in range(1, 6)})
    plan = quick(data, "plan", "--repo", str(many.path), "--json")
    assert plan.code == 3 and not plan.json["applyable"]
    assert "max-deletes:fleet/host" in {guard["guard"] for guard in plan.json["guards"]}
    refused = quick(data, "apply", plan.json["id"], "--approve", "--json")
    assert refused.code == 3 and refused.json["error"]["code"] == "guard" and refused.json["error"]["hint"]
    many.commit({"host-6.yaml": None})
    assert "empty-desired" in {guard["guard"] for guard in quick(data, "plan", "--repo", str(many.path), "--json").json["guards"]}
    waits = quick(data, "apply", "--repo", where, "--json")
    assert waits.code == 0
    assert quick(data, "plan", "--nonsense").code == 1
    assert quick(data, "plna").code == 1
    assert quick(data, "apply", "0000").code == 1


@pytest.mark.parametrize("suffix", ["json", "md", "txt"])
def test_plans_in_files(tmp_path: Path, suffix: str) -> None:
    made, out = repo(tmp_path / "repo"), tmp_path / f"plan.{suffix}"
    result = quick(tmp_path / "data", "plan", "--repo", str(made.path), "--json", "--out", str(out))
    assert result.code == 2
    text = out.read_text()
    assert result.json["id"][:12] in text
    if suffix == "json":
        assert json.loads(text)["id"] == result.json["id"]


def test_a_wrong_format_is_one_document(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo")
    result = quick(tmp_path / "data", "plan", "--repo", str(made.path), "--json", "--out", "plan.pdf")
    assert result.code == 1 and result.json["error"]["code"] == "usage"


@pytest.mark.parametrize("name", ["Bad Name", "x: y", "1e3", "true", "-a", "a" * 64])
def test_init_refuses_a_name_that_would_not_validate(tmp_path: Path, name: str) -> None:
    assert quick(tmp_path / "data", "init", str(tmp_path / "mine"), "--name", name).code == 1
    assert not (tmp_path / "mine").exists()


def test_help_imports_little() -> None:
    program = "import sys\nfrom reconciler.cli.main import run\nassert run(['--help']) == 0\nprint(' '.join(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    modules = set(done.stderr.split())
    heavy = {
        "sqlalchemy",
        "alembic",
        "pygit2",
        "jinja2",
        "jsonschema",
        "rich",
        "structlog",
        "ruamel",
        "msgspec",
        "cryptography",
        "ansible_runner",
        "asyncio",
    }
    assert not modules & heavy
    bare = subprocess.run(
        [sys.executable, "-c", "import click, json, sys; print(len(sys.modules))"], capture_output=True, text=True, check=True
    )
    assert len(modules) - int(bare.stdout) < 40
    assert "Usage: octofleet" in done.stdout and "demo" in done.stdout


def test_long_lines_break_between_words_and_commands_stay_whole() -> None:
    names = "  8 with the same change: " + ", ".join(f"host/shop/web-{n:02d}" for n in range(1, 9))
    lines = fitted(names, 80).split("\n")
    assert len(lines) == 3 and all(len(line) <= 80 for line in lines) and lines[1].startswith("      host/")
    assert " ".join(line.strip() for line in lines) == names.strip()
    for whole in (names.replace("8 with", "octofleet with"), "        " + names, "x" * 200):
        assert fitted(whole, 80) == whole
    assert fitted(names, 0) == names


def test_a_joined_list_is_explained_as_the_host_has_it(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo", fleet(hosts=1, **{"host-1": host("web-01", 1, spec="  packages: [htop]\n")}))
    where = ("explain", "web-01", "--repo", str(made.path))
    (line,) = [line for line in quick(tmp_path, *where).out.splitlines() if line.startswith("spec.packages")]
    assert all(f'"{name}"' in line for name in ("curl", "vim", "htop")) and "host/shop/web-01" in line and "fleet/test" in line
    told = quick(tmp_path, *where, "spec.packages").out
    assert told.startswith("spec.packages is joined from") and " => [" in told and told.splitlines()[-1].count('"') == 6
