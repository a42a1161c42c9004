"""What goes of pull requests and of what forges sent, and what stays."""

from pathlib import Path

import pytest

from reconciler.blobs.directory import DirectoryBlobs
from reconciler.settings import Retention
from reconciler.store.engine import Store
from reconciler.store.postings import posted, postings_of, want
from reconciler.store.pull_locks import locks_of, take_locks
from reconciler.store.pulls import NEVER, Command, PullKey, answer, ask_pull, received, save_command
from reconciler.store.retention import DAY_S, DELIVERIES_S, prune
from tests.operations.rows import NOW, add_plan, ids
from tests.store.databases import database_url, kind, store

__all__ = ["database_url", "kind", "store"]


def key(number: int) -> PullKey:
    return PullKey(forge="hub", project="acme/fleet", number=number)


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(directory=tmp_path / "blobs")


def test_closed_pull_requests_and_old_deliveries(store: Store, blobs: DirectoryBlobs) -> None:
    with store.write() as connection:
        now = connection.now()
        for number, state, age in (
            (1, "closed", 40),
            (2, "open", 40),
            (3, "merged", 20),
            (4, "closed", 40),
            (5, "closed", 40),
            (6, "merged", 40),
        ):
            ask_pull(connection, key(number), "/repo")
            values = (state, now - age * DAY_S, NEVER, number)
            connection.run("UPDATE pull SET state = ?, planned_at = ?, due_at = ?, asked_at = NULL WHERE number = ?", values)
        ask_pull(connection, key(6), "/repo")
        for number in (1, 4):
            want(connection, key(number), "comment", b"text")
        for one in postings_of(connection, key(1)):
            posted(connection, one, "c-1")
        connection.run("UPDATE posting SET due_at = ?", (now - 35 * DAY_S,))
        for number, at in ((1, now - 35 * DAY_S), (5, now)):
            said = Command(
                forge="hub", comment=str(number), project="acme/fleet", number=number, author="ada", body="octofleet plan", at=at
            )
            save_command(connection, said)
            answer(connection, said, "planned")
        take_locks(connection, key(1), "fleet", ["a"])
        received(connection, "hub", "new")
        received(connection, "hub", "old")
        connection.run("UPDATE delivery SET at = ? WHERE id = 'old'", (now - DELIVERIES_S - 60,))
    counted = prune(store, blobs, Retention(), now, dry_run=True)
    assert (counted.pulls, counted.deliveries) == (1, 1) and len(ids(store, "pull", "number")) == 6
    assert prune(store, blobs, Retention(), now) == counted
    assert ids(store, "pull", "number") == {2, 3, 4, 5, 6}, "open, young, not told to the forge yet, just commented, asked for"
    assert (
        ids(store, "delivery", "id") == {"new"} and ids(store, "pull_command", "number") == {5} and ids(store, "posting", "number") == {4}
    )
    with store.read() as connection:
        assert locks_of(connection, key(1)) == []


def test_the_plan_of_an_open_pull_request_stays(store: Store, blobs: DirectoryBlobs) -> None:
    with store.write() as connection:
        for row in (1, 2, 3):
            add_plan(connection, row, 100)
        for number, state in ((1, "open"), (2, "closed")):
            ask_pull(connection, key(number), "/repo")
            connection.run("UPDATE pull SET state = ?, plan = ? WHERE number = ?", (state, number, number))
    assert prune(store, blobs, Retention(), NOW).plans == 1
    assert ids(store, "plan", "row") == {1, 3}
