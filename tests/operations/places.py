"""Where backups come from and go to: a database of either kind, a key, blobs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.blobs.directory import DirectoryBlobs
from reconciler.errors import OctofleetError
from reconciler.store.audit import record
from reconciler.store.engine import Connection, Store
from reconciler.store.restore import Restored, restore
from reconciler.types.audit import Entry
from tests.operations.rows import NOW, add, add_installation, everything
from tests.operations.test_retention import history
from tests.store.databases import database

SECRET = bytes(range(32))
VALUES = ["", "ä€😀", "\r\n\t\x7f\x85", "a'b\"c%?", "x" * 10_000]
NUMBERS = [0.0, -1.5, 1e-300, 1.7976931348623157e308, 0.1 + 0.2, NOW]


def filled(store: Store) -> None:
    """Rows in every table, some at the ends of what a column takes."""
    with store.write() as connection:
        history(connection)
        for number, (text, at) in enumerate(zip([*VALUES, "more"], NUMBERS, strict=True)):
            add(
                connection,
                "observation",
                address=f"v{number}",
                kind="absent",
                digest=text,
                body=text.encode(),
                at=at,
                settled=number % 2 == 0,
            )
        add(connection, "touched", source="f", group="g", seq=2**31 - 1)
        add(connection, "mark", source="f", seq=1)
        add(
            connection,
            "repository",
            location="l",
            head="h",
            planned="p",
            due_at=1.0,
            asked_at=None,
            owner="w",
            fence=7,
            failures=0,
            note="n",
            at=None,
        )
        add(connection, "backoff", address="a", failures=1, until=NOW, reason="r")
        add(connection, "sample", at=int(NOW), source="f", tenant="t", converged=1, changing=0, drifted=0, unknown=0, failed=2)
        add(connection, "outline", plan=2, piece=1, body=b"\x00\xff")
        add(connection, "blob", name="b", body=b"\x00\xff", at=NOW, expires_at=None)
        add_rules(connection)
        add_pulls(connection)
        add_sign_ins(connection)
        add_installs(connection)
        add_hosts(connection)
        for number, text in enumerate(VALUES):
            record(
                connection,
                Entry(identity="local:ada", action="forget", subjects=(text,), reason=text, details={"number": number, "text": text}),
            )
    assert all(everything(store).values())


def add_rules(connection: Connection) -> None:
    """A row in each table of what stands between a plan and a machine."""
    word = {"identity": "local:ada", "at": NOW, "reason": "why"}
    add(
        connection,
        "phase",
        run="r",
        tenant="t",
        track="t",
        number=1,
        title="canary",
        first_wave=0,
        last_wave=1,
        hosts=2,
        state="open",
        soak_s=1.5,
        promote=True,
        max_failures=1,
        opens_at=None,
        note="",
        on_stop="revert",
        wait_s=60.0,
        deadline_at=NOW,
    )
    add(
        connection, "rollback", run="r", source="f", mode="revert", at=NOW, why="w", taken="c", state="left", branch="b", made="m", note="n"
    )
    add(connection, "approval", id="a", plan="p", expires_at=NOW, run="", yes=True, **word)
    add(connection, "kept_window", run="r", address="w", source="f", body=b"{}")
    alert = {"event": "run-failed", "source": "f", "tenant": "", "subject": "fleet f", "text": "t", "next": "n", "since": NOW, "about": "r"}
    add(connection, "alert", key="k", **alert)
    add(connection, "alert_line", line="l#0", sent=b"{}", unsaid=1, failures=2, retry_at=NOW, error="e")
    add(connection, "alert_entry", line="l#0", key="k", body=b"{}", at=NOW, tried=True, told_at=None, over_at=NOW)
    add(connection, "approved", approval="a", change="c")
    add(connection, "pause", id="p", source="", scope="*", until=NOW, ended_at=None, **word)
    add(connection, "override", id="o", source="f", window="w", until=NOW, ended_at=None, **word)


def add_pulls(connection: Connection) -> None:
    """A row in each table of pull requests."""
    key = {"forge": "hub", "project": "acme/fleet", "number": 7}
    add(connection, "delivery", forge="hub", id="d", at=NOW)
    lease = {"owner": "w", "fence": 3}
    seen = {"location": "l", "state": "open", "head": "h", "branch": "main", "seen": b"{}", "trusted": "", "let_go": "", "made_of": "m"}
    times = {"planned_at": NOW, "asked_at": None, "due_at": NOW}
    add(connection, "pull", **key, **seen, **times, **lease, plan=None, failures=0, note="n")
    add(connection, "pull_command", **key, comment="c", author="ada", body="octofleet help", at=NOW, done_at=None, answer="")
    said = {"what": "comment", "body": b"b", "wanted": "w", "posted": "", "id": "", "posted_at": None}
    add(connection, "posting", **key, **said, due_at=NOW, failures=0, note="")
    add(connection, "forge", name="hub", due_at=NOW, polled_at=None, failures=0, note="", **lease)
    add(connection, "pull_lock", **key, source="f", address="a", at=NOW, identity="", reason="")


def add_sign_ins(connection: Connection) -> None:
    """A row in each table of signing in."""
    add(connection, "account", name="ada", display="Ada", password="", owner=True, made_at=NOW, disabled_at=None)
    add(connection, "session", id="s", account="ada", made_at=NOW, seen_at=NOW, expires_at=NOW + 1, source="192.0.2.1", agent="a")
    add(connection, "invitation", id="i", account="ben", owner=False, reset=False, expires_at=NOW, used_at=None)
    token = {"secret": "s", "label": "ci", "identity": "token:ci", "actions": b'["view"]', "made_by": "local:ada"}
    add(connection, "api_token", id="t", **token, made_at=NOW, expires_at=NOW + 1, last_used_at=None, revoked_at=None)
    add(connection, "tries", key="k", count=3, until=NOW)


def add_installs(connection: Connection) -> None:
    """A row in each table of machines that are installed."""
    add_installation(connection, "over", "installed", seq=1, ended=1.0)
    add_installation(connection, "open", "installing", seq=2, ended=None)
    add(connection, "installed", tenant="t", host="web-1", generation=2, at=NOW, sure=True, keys="ssh-ed25519 AAAA", why="w")
    add(connection, "boot_seen", tenant="t", host="web-1", at=NOW, address="192.0.2.9", firmware="uefi", decision="local", why="w")


def add_hosts(connection: Connection) -> None:
    """A row in each table of what runs did on hosts, and of what is known of them."""
    counts = dict.fromkeys(("ok", "changed", "failed", "ignored", "skipped", "unreachable"), 1)
    one = {"run": "r", "step": 0, "tenant": "t"}
    add(connection, "task", **one, id=7, host="web-1", name="n", place="p:1", status="changed", at=NOW, seconds=0.5, message="")
    add(connection, "task_total", **one, part=0, number=1, name="n", place="p:1", **counts, seconds=1.0, most_s=0.5, slowest="web-1")
    add(connection, "host_total", **one, part=0, host="web-1", **counts, seconds=1.0, at=NOW)
    add(connection, "host_seen", tenant="t", host="web-1", checked_at=NOW, seen_at=NOW, converged_at=None, note="")
    add(connection, "host_facts", tenant="t", host="web-1", at=NOW, digest="d", body=b"{}")
    add(connection, "host_fact", tenant="t", host="web-1", path="kernel", value="6.1")
    add(connection, "host_check", group="host/t/web-1", source="f", interval_s=86400.0, due_at=NOW, begun_at=NOW, ended_at=None)
    add(connection, "check_spent", id=2, source="f", at=NOW, hosts=1)
    add(connection, "fact_change", id=3, at=NOW, tenant="t", host="web-1", path="kernel", before="", after='"6.1"')
    add(connection, "occurrence", source="f", operation="t/patch", due_at=NOW, state="begun", at=NOW, run="r", plan="p", note="")


class Place:
    """Where something is restored: a database, a key, blobs."""

    def __init__(self, url: str, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.url, self.directory, self.store = url, directory, Store(url)
        self.blobs = DirectoryBlobs(directory=directory / "blobs")
        self.key = directory / "key"

    def restore(self, path: Path, blobs: Any = None) -> Restored:
        scratch = self.directory / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        return restore(path, self.store, blobs or self.blobs, self.key, scratch, "local:ada")

    def untouched(self) -> bool:
        rows = everything(self.store)
        return [name for name in rows if rows[name]] == ["about"] and not self.key.exists() and list(self.blobs.names()) == []


@contextmanager
def place(kind: str, directory: Path) -> Iterator[Place]:
    directory.mkdir(exist_ok=True)
    with database(kind, directory) as url:
        made = Place(url, directory)
        try:
            yield made
        finally:
            made.store.close()


def refused(target: Place, path: Path, data: bytes, match: str | None = None) -> OctofleetError:
    path.write_bytes(data)
    with pytest.raises(OctofleetError, match=match) as caught:
        target.restore(path)
    assert caught.value.hint and target.untouched()
    return caught.value
