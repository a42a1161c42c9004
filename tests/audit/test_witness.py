"""The head outside the database: `octofleet serve` keeps it, and tells if the trail does not go on from it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pygit2
import pytest

from reconciler import events
from reconciler.errors import OctofleetError, Permanent
from reconciler.loop import Loop
from reconciler.settings import Audit, Settings
from reconciler.store.audit import newest, record
from reconciler.store.engine import Store
from reconciler.types.audit import START, Head
from reconciler.witness import BRANCH, NAME, FileKeeper, GitKeeper, Keeper, checked, keep, keepers, parsed
from tests.audit.made import entry, fill, raw_rows, rewrite, unlock
from tests.fleets import installation


@pytest.fixture(params=["file", "git", "working copy"])
def keeper(tmp_path: Path, request: pytest.FixtureRequest) -> Keeper:
    if request.param == "file":
        return FileKeeper(tmp_path / "kept" / "head")
    pygit2.init_repository(str(tmp_path / "kept"), bare=request.param == "git")
    return GitKeeper(tmp_path / "kept")


def test_it_is_kept_when_there_are_new_rows(store: Store, keeper: Keeper) -> None:
    assert keep(store, keeper) == START and keeper.read() is None
    head = fill(store, 5)
    assert "no head is kept" in checked(store, keeper)
    assert keep(store, keeper) == head == keeper.read() == keep(store, keeper)
    with store.write() as connection:
        record(connection, entry(9))
    assert "has row 5, and 1 came since" in checked(store, keeper)
    assert keep(store, keeper).seq == 6
    with store.read() as connection:
        assert keeper.read() == newest(connection)


DAMAGES = {
    "the newest are removed": ("DELETE FROM audit WHERE seq > 3",),
    "all are removed": ("DELETE FROM audit",),
    "the last one is edited": ("UPDATE audit SET hash = 'x' WHERE seq = 5",),
    "a newer one is edited": ("UPDATE audit SET reason = 'x' WHERE seq = 7",),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_trail_that_does_not_go_on_from_it_is_told_and_what_was_kept_stays(store: Store, keeper: Keeper, damage: str) -> None:
    head = fill(store, 5)
    keep(store, keeper)
    fill(store, 3)
    with store.write() as connection:
        unlock(connection)
        for statement in DAMAGES[damage]:
            connection.run(statement)
    for look in (keep, checked):
        with pytest.raises(OctofleetError) as caught:
            look(store, keeper)
        assert caught.value.code == "audit-broken" and keeper.place in caught.value.message and caught.value.hint
    assert keeper.read() == head


def test_after_a_restore_it_begins_anew_by_a_persons_word(store: Store, keeper: Keeper) -> None:
    fill(store, 5)
    keep(store, keeper)
    with store.write() as connection:
        unlock(connection)
        rewrite(connection, raw_rows(connection)[:2])
        record(connection, entry(action="restore"))
    with pytest.raises(Permanent, match="rows were removed"):
        keep(store, keeper)
    assert keep(store, keeper, accept_history=True).seq == 3
    with store.write() as connection:
        connection.run("UPDATE audit SET reason = 'x' WHERE seq = 1")
    with pytest.raises(Permanent, match="row 1 does not have the hash"):
        keep(store, keeper, accept_history=True)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1]", b'{"seq": 1}', b'{"seq": "1", "hash": "x"}', b'{"seq": 1, "hash": "x", "more": 1}', b"\xff"]
)
def test_what_is_no_head(store: Store, tmp_path: Path, text: bytes) -> None:
    fill(store, 1)
    (tmp_path / "head").write_bytes(text)
    with pytest.raises(Permanent, match="holds no head"):
        keep(store, FileKeeper(tmp_path / "head"))
    assert (tmp_path / "head").read_bytes() == text


def test_git_keeps_each_in_a_commit_and_leaves_the_rest_alone(store: Store, tmp_path: Path) -> None:
    git = pygit2.init_repository(str(tmp_path / "repo"), initial_head="main")
    (tmp_path / "repo" / "file").write_text("mine")
    keeper = GitKeeper(tmp_path / "repo")
    for _ in range(3):
        fill(store, 2)
        keep(store, keeper)
    tip = git.branches[BRANCH].peel(pygit2.Commit)
    kept = [json.loads(commit.tree[NAME].data)["seq"] for commit in git.walk(tip.id)]
    assert kept == [6, 4, 2] and tip.message == "Audit trail at row 6\n"
    assert git.head_is_unborn and git.status() == {"file": pygit2.enums.FileStatus.WT_NEW} and list(git.branches.local) == [BRANCH]


def test_another_process_that_is_first_wins(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pygit2.init_repository(str(tmp_path / "repo"), bare=True)
    one, two = GitKeeper(tmp_path / "repo"), GitKeeper(tmp_path / "repo")
    fill(store, 1)
    keep(store, one)
    tip = two._tip()
    fill(store, 1)
    keep(store, one)
    monkeypatch.setattr(two, "_tip", lambda: tip)
    with pytest.raises(Permanent, match="cannot commit to the branch"):
        two.write(Head(9, "f" * 64))
    assert one.read() == GitKeeper(tmp_path / "repo").read() != Head(9, "f" * 64)


def test_a_file_that_cannot_be_written_or_read(store: Store, tmp_path: Path) -> None:
    fill(store, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent, match="cannot read"):
        keep(store, FileKeeper(tmp_path / "file" / "head"))
    with pytest.raises(Permanent, match="cannot read"):
        keep(store, FileKeeper(tmp_path))


def test_the_loop_keeps_it_where_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pygit2.init_repository(str(tmp_path / "git"), bare=True)
    said = Audit(head_file=str(tmp_path / "head"), head_git=str(tmp_path / "git"), head_every_s=1.0)
    made = replace(installation(tmp_path / "data"), settings=Settings(audit=said))
    heard: list[tuple[str, Mapping[str, Any]]] = []
    monkeypatch.setattr(events, "listeners", [lambda name, fields: heard.append((name, fields))])
    head = fill(made.store, 3)
    loop = Loop(made, [], "w", lambda: None)

    def once() -> None:
        stop = Event()
        monkeypatch.setattr(loop, "once", lambda _: stop.set())
        loop.run(stop)

    once()
    assert parsed((tmp_path / "head").read_bytes(), "") == head and [keeper.read() for keeper in keepers(said)] == [head, head]
    fill(made.store, 1)
    once()
    assert [keeper.read() for keeper in keepers(said)] == [head, head], "not before its time"
    loop._head_at = 0.0
    once()
    assert {keeper.read() and keeper.read().seq for keeper in keepers(said)} == {4} and heard == []  # type: ignore[union-attr]
    with made.store.write() as connection:
        unlock(connection)
        connection.run("DELETE FROM audit WHERE seq = 4")
    loop._head_at = 0.0
    once()
    assert [name for name, _ in heard] == ["audit-broken"] and "rows were removed" in heard[0][1]["text"]
    made.close()


def test_the_loop_goes_on_where_it_cannot_be_kept(tmp_path: Path) -> None:
    made = replace(installation(tmp_path / "data"), settings=Settings(audit=Audit(head_git=str(tmp_path / "nowhere"))))
    loop = Loop(made, [], "w", lambda: None)
    fill(made.store, 1)
    loop._keep_head()
    made.close()
