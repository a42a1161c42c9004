"""`octofleet audit` and what other commands leave in it, through the real command."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.cli.audit import audit as group
from reconciler.identity.local import whoami
from reconciler.store.audit import record
from reconciler.store.engine import Store, sqlite_url
from reconciler.types.audit import Entry
from tests.audit.made import entry, fill, unlock
from tests.cli.command import quick
from tests.fleets import repo
from tests.operations.rows import add


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An installation that has applied a fleet."""
    made = repo(tmp_path / "repo")
    assert quick(tmp_path / "data", "apply", "--approve", "--reason", "the first", "--repo", str(made.path)).code == 0
    return tmp_path / "data"


def rows(data: Path, *args: str) -> list[dict[str, Any]]:
    done = quick(data, "audit", "list", "--json", *args)
    assert done.code == 0 and done.err == ""
    found: list[dict[str, Any]] = done.json["entries"]
    return found


def tampered(data: Path, *statements: str) -> None:
    with sqlite3.connect(data / "octofleet.db") as raw:
        for name in ("update", "delete", "replace"):
            raw.execute(f"DROP TRIGGER IF EXISTS audit_no_{name}")
        for statement in statements:
            raw.execute(statement)


def test_what_people_say_is_listed_newest_first(data: Path) -> None:
    assert quick(data, "forget", "host/shop/web-01", "--reason", "sold").code == 0
    assert quick(data, "forget", "host/shop/web-01", "--reason", "again").code == 1
    (file,) = (data / "boot/shop/web-02").rglob("user-data")
    file.write_bytes(b"by hand\n")
    assert quick(data, "drift", "--heal", "--approve", "--scope", "host/shop/web-02").code == 0
    found = rows(data)
    me = whoami()
    assert [(row["identity"], row["action"]) for row in found] == [
        ("system:worker", "run-ended"),
        (me, "heal"),
        (me, "forget"),
        ("system:worker", "run-ended"),
        (me, "apply"),
    ]
    assert found[2]["reason"] == "sold" and "boot/user-data/shop/web-01" in found[2]["subjects"]
    assert found[1]["reason"] == "drift healed" and found[4]["reason"] == "the first"
    with Store(sqlite_url(data)).write() as connection:
        record(connection, Entry(identity="local:eve", action="pause", reason="\x1b[2J"))
    text = quick(data, "audit").out
    assert "\x1b" not in text and "\ufffd[2J" in text
    assert text.index("run-ended done") < text.index("heal") < text.index("forget") and "and " in text


def test_filters_and_pages(data: Path) -> None:
    store = Store(sqlite_url(data))
    fill(store, 30)
    store.close()
    assert len(rows(data)) == 32 and [row["seq"] for row in rows(data, "--limit", "3")] == [32, 31, 30]
    assert [row["seq"] for row in rows(data, "--limit", "3", "--before", "30")] == [29, 28, 27]
    assert "older ones: --before 30" in quick(data, "audit", "--limit", "3").out
    assert {row["identity"] for row in rows(data, "--who", "local:ada1")} == {"local:ada1"}
    assert {row["action"] for row in rows(data, "--action", "forget", "--run", "run-2")} == {"forget"}
    assert rows(data, "--since", "2999-01-01") == [] and len(rows(data, "--since", "2001-01-01T00:00:00")) == 32
    assert quick(data, "audit", "--who", "nobody").out == "nothing of that kind is recorded\n"
    for wrong in (("--since", "soon"), ("--limit", "0"), ("--before", "x"), ("nope",), ("--nope",), ("show",), ("show", "nope")):
        done = quick(data, "audit", *wrong)
        assert done.code == 1 and "next: " in done.err and "Traceback" not in done.err, wrong


def test_a_run_from_its_plan_to_who_approved_each_change(data: Path) -> None:
    run = quick(data, "runs", "--json").json["runs"][0]["run"]
    shown = quick(data, "audit", "show", run[:12], "--json").json
    assert shown["run"] == run and len(shown["plan"]) == 64 and shown["wrong"] is None
    assert [row["action"] for row in shown["entries"]] == ["apply", "run-ended"] and shown["entries"][0]["identity"] == whoami()
    assert {change["status"] for change in shown["changes"]} == {"done"} and {len(c["digest"]) for c in shown["changes"]} == {64}
    assert {tuple(change["approvedBy"]) for change in shown["changes"]} == {(whoami(),)}, "with --approve"
    store = Store(sqlite_url(data))
    with store.write() as connection:
        for name, served in (("bob", run), ("eve", "another")):
            values = {"at": 1.0, "expires_at": 2.0, "reason": "", "yes": True}
            add(connection, "approval", id=name, plan=shown["plan"], identity=f"local:{name}", run=served, **values)
            add(connection, "approved", approval=name, change=shown["changes"][0]["digest"])
        record(connection, entry(plan=shown["plan"], run="", action="approve", identity="local:bob"))
    store.close()
    again = quick(data, "audit", "show", run, "--json").json
    approved = [set(change["approvedBy"]) - {whoami()} for change in again["changes"]]
    assert approved == [{"local:bob"}, *[set()] * (len(again["changes"]) - 1)]
    assert [row["action"] for row in again["entries"]] == ["apply", "run-ended", "approve"]
    text = quick(data, "audit", "show", run).out
    assert "local:bob" in text and "approved by " in text and again["changes"][0]["digest"] in text


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE change SET body = replace(body, 'web-01', 'web-09')",
        "DELETE FROM change WHERE seq = 1",
        "UPDATE plan SET id = 'x' || substr(id, 2)",
    ],
)
def test_a_plan_that_is_not_what_was_applied(data: Path, statement: str) -> None:
    tampered(data, statement)
    run = quick(data, "runs", "--json").json["runs"][0]["run"]
    done = quick(data, "audit", "show", run, "--json")
    assert done.code == 1 and "was changed or damaged" in done.json["wrong"] and done.json["changes"] is None


def test_a_run_that_was_given_another_plan(data: Path) -> None:
    made = repo(data.parent / "other", {"fleet.yaml": "apiVersion: octofleet/v1\nkind: Fleet\nmetadata: {name: other}\nspec: {}\n"})
    other = quick(data, "plan", "--repo", str(made.path), "--json").json["id"]
    run = quick(data, "runs", "--json").json["runs"][0]["run"]
    tampered(data, f"UPDATE run SET plan = (SELECT max(row) FROM plan WHERE id = '{other}')")
    done = quick(data, "audit", "show", run)
    assert done.code == 1 and f"the run has the plan {other[:12]}, and the audit trail says" in done.err


def test_a_run_that_was_pruned(data: Path) -> None:
    run = quick(data, "runs", "--json").json["runs"][0]["run"]
    tampered(data, "DELETE FROM item", "DELETE FROM step", "DELETE FROM run", "DELETE FROM change", "DELETE FROM plan")
    shown = quick(data, "audit", "show", run, "--json")
    assert shown.code == 0 and shown.json["changes"] is None and len(shown.json["entries"]) == 2
    assert "were pruned" in quick(data, "audit", "show", run).out


def test_verify_finds_what_was_done(data: Path) -> None:
    whole = quick(data, "audit", "verify", "--json")
    assert whole.code == 0 and whole.json["whole"] and whole.json["rows"] == 2 and whole.json["wrong"] is None
    head = quick(data, "audit", "head", "--json").json
    assert head == whole.json["head"] | {"keptIn": []} and quick(data, "audit", "head").out == f"2 {head['hash']}\n"
    assert quick(data, "audit", "verify", "--head", head["hash"].upper()).code == 0
    tampered(data, "DELETE FROM audit WHERE seq = 2")
    assert "only a head from outside" in quick(data, "audit", "verify").out
    shortened = quick(data, "audit", "verify", "--head", head["hash"], "--json")
    assert shortened.code == 1 and shortened.json["wrong"]["what"] == "head" and not shortened.json["whole"]
    tampered(data, "UPDATE audit SET identity = 'local:eve'")
    edited = quick(data, "audit", "verify")
    assert edited.code == 1 and "row 1 does not have the hash of what is in it" in edited.out
    for wrong in ("nope", str(data), "f" * 63):
        done = quick(data, "audit", "verify", "--head", wrong)
        assert done.code == 1 and "next: " in done.err and "Traceback" not in done.err
    bad = data.parent / "bad"
    bad.write_text('{"seq": "x"}')
    assert "holds no head" in quick(data, "audit", "verify", "--head", str(bad)).err


def test_an_export_is_verified_without_a_database(data: Path) -> None:
    store = Store(sqlite_url(data))
    fill(store, 700)
    store.close()
    out, head = data.parent / "trail", data.parent / "head"
    assert quick(data, "audit", "export", "--out", str(out), "--json").json == {"file": str(out), "rows": 702}
    assert quick(data, "audit", "head", "--out", str(head)).code == 0
    assert quick(data, "audit", "export", "--out", str(out)).code == 1, "a file is never replaced"
    assert quick(data, "audit", "export").out == out.read_text()
    assert [json.loads(line)["seq"] for line in out.read_text().splitlines()] == list(range(1, 703))
    elsewhere = data.parent / "elsewhere"
    found = quick(elsewhere, "audit", "verify", "--file", str(out), "--head", str(head), "--json")
    assert found.code == 0 and found.json["rows"] == 702 and not (elsewhere / "octofleet.db").exists()
    lines = out.read_bytes().splitlines(keepends=True)
    damaged = data.parent / "damaged"
    for change, what in (
        ([*lines[:4], lines[5], lines[4], *lines[6:]], "missing"),
        ([*lines[:4], *lines[5:]], "missing"),
        ([*lines[:4], lines[3], *lines[4:]], "order"),
        ([*lines[:4], lines[4].replace(b"local:ada", b"local:eve"), *lines[5:]], "edited"),
        ([*lines[:4], lines[4].replace(b":", b": ", 1), *lines[5:]], "unreadable"),
        ([*lines[:4], b"\n", *lines[4:]], "unreadable"),
        ([*lines[:4], b"{}\n", *lines[4:]], "unreadable"),
        (lines[:-1], "head"),
        ([], "head"),
    ):
        damaged.write_bytes(b"".join(change))
        done = quick(elsewhere, "audit", "verify", "--file", str(damaged), "--head", str(head), "--json")
        assert done.code == 1 and done.json["wrong"]["what"] == what, what
    assert quick(elsewhere, "audit", "verify", "--file", str(elsewhere / "nope")).code == 1


def test_a_backup_carries_the_trail_and_a_restore_is_a_row(data: Path) -> None:
    head, file = data.parent / "head", data.parent / "backup"
    assert quick(data, "audit", "head", "--out", str(head)).code == 0
    assert quick(data, "backup", str(file)).code == 0
    other = data.parent / "other"
    assert quick(other, "restore", str(file)).code == 0
    assert quick(other, "audit", "verify", "--head", str(head)).code == 0
    last = rows(other)[0]
    assert (last["seq"], last["identity"], last["action"], last["subjects"]) == (3, whoami(), "restore", [str(file)])
    assert quick(other, "prune", "--json").code == 0 and len(rows(other)) == 3, "nothing is old enough"


def test_reconcile_is_a_row(data: Path) -> None:
    assert quick(data, "reconcile", "/nowhere").code == 1 and len(rows(data)) == 2
    store = Store(sqlite_url(data))
    with store.write() as connection:
        where = {"location": "/l", "head": "", "planned": "", "due_at": 0.0, "asked_at": None, "owner": "", "fence": 0, "failures": 0}
        add(connection, "repository", note="", at=None, **where)
    store.close()
    assert quick(data, "reconcile").code == 3, "nobody serves"
    assert (rows(data)[0]["action"], rows(data)[0]["subjects"]) == ("reconcile", ["/l"])


def test_doctor_looks_at_the_newest_rows_and_at_the_heads(data: Path) -> None:
    head = data.parent / "head"

    def findings(code: int) -> dict[str, tuple[str, str]]:
        done = quick(data, "doctor", "--json", env={"OCTOFLEET_AUDIT__HEAD_FILE": str(head)})
        assert done.code == code
        return {item["name"]: (item["status"], item["found"]) for item in done.json["findings"] if item["name"].startswith("audit")}

    assert findings(0) == {
        "audit trail": ("ok", "2 rows, the newest 2 as they were recorded"),
        "audit head": ("ok", f"no head is kept in {head} yet"),
    }
    assert quick(data, "audit", "head", "--out", str(head)).code == 0
    assert findings(0)["audit head"] == ("ok", f"{head} has row 2, and 0 came since")
    tampered(data, "DELETE FROM audit WHERE seq = 2")
    found = findings(1)
    assert found["audit trail"][0] == "ok" and found["audit head"][0] == "failed" and "rows were removed" in found["audit head"][1]
    tampered(data, "UPDATE audit SET at = 0")
    assert findings(1)["audit trail"][0] == "failed"


def test_settings_of_the_head_are_checked(data: Path) -> None:
    done = quick(data, "doctor", env={"OCTOFLEET_AUDIT__HEAD_FILE": "head"})
    assert done.code == 1 and "audit.head_file is head" in done.err
    found = quick(data, "doctor", "--json", env={"OCTOFLEET_AUDIT__HEAD_GIT": str(data.parent / "no")}).json["findings"]
    assert [item["status"] for item in found if item["name"] == "audit head"] == ["failed"]


def test_every_command_of_the_group_has_a_help() -> None:
    assert set(group.commands) == {"list", "show", "verify", "export", "head"} and all(command.help for command in group.commands.values())


def test_a_head_on_a_branch(data: Path) -> None:
    place = data.parent / "witness.git"
    git = pygit2.init_repository(str(place), bare=True)
    assert quick(data, "audit", "head", "--git", str(place)).code == 0
    assert quick(data, "audit", "head", "--git", str(place)).code == 0, "nothing is new"
    assert quick(data, "forget", "host/shop/web-01", "--reason", "gone").code == 0
    done = quick(data, "audit", "head", "--git", str(place), "--json")
    tip = git.branches["octofleet-audit"].peel(pygit2.Commit)
    kept = json.loads(tip.tree["audit-head.json"].data)
    assert kept == {"seq": 3, "hash": done.json["hash"]} and len(tip.parents) == 1 and tip.parents[0].parents == []
    assert done.json["keptIn"] == [f"the branch octofleet-audit of {place}"]
    unlocked = Store(sqlite_url(data))
    with unlocked.write() as connection:
        unlock(connection)
        connection.run("DELETE FROM audit WHERE seq > 1")
    unlocked.close()
    refused = quick(data, "audit", "head", "--git", str(place))
    assert refused.code == 1 and "does not go on from the branch" in refused.err and "--accept-history" in refused.err
    assert git.branches["octofleet-audit"].peel(pygit2.Commit).id == tip.id
    assert quick(data, "audit", "head", "--git", str(place), "--accept-history").code == 0
    assert json.loads(git.branches["octofleet-audit"].peel(pygit2.Commit).tree["audit-head.json"].data)["seq"] == 1
    for wrong in (data.parent / "nowhere", data):
        assert quick(data, "audit", "head", "--git", str(wrong)).code == 1
