"""What prune lets go and what it keeps, row by row; how many rows a transaction takes; and whoever dies in the middle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.blobs.directory import DirectoryBlobs
from reconciler.settings import Retention
from reconciler.store import archive, audit, retention
from reconciler.store.engine import Connection, Store
from reconciler.store.records import load_specs, save_specs
from reconciler.store.retention import Pruned, prune
from reconciler.store.runs import FORGET
from reconciler.types.canonical import digest, pack
from tests.cli.command import quick
from tests.fleets import host, repo
from tests.operations.rows import (
    DAY,
    NOW,
    TABLES,
    Countdown,
    Died,
    Watched,
    WatchedBlobs,
    add,
    add_plan,
    add_run,
    add_spec,
    everything,
    ids,
    kept_of,
)

KEEP = Retention(runs_days=365, plans_days=30, log_days=7)

NOTHING = Pruned(logs=0, runs=0, plans=0, specs=0, forgets=0, workers=0, deliveries=0, pulls=0, sign_ins=0, installs=0, blobs=0)


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(directory=tmp_path / "blobs")


def history(connection: Connection) -> None:
    """Something of every kind on either side of every limit."""
    add(connection, "source", name="f", location="l", applied_commit="applied", at=NOW)
    add_plan(connection, 1, 500, specs=["of an old run", "shared"])
    add_plan(connection, 2, 500, specs=["of a young run"])
    add_plan(connection, 3, 500, specs=["of an open run"])
    add_plan(connection, 4, 500, expires=501, specs=["can still be applied"])
    add_plan(connection, 5, 29, specs=["young"])
    add_plan(connection, 6, 31, specs=["nobody's", "shared", "recorded", "seen"])
    add_plan(connection, 7, 90, commit="applied", specs=["older of the applied commit"])
    add_plan(connection, 8, 80, commit="applied", specs=["what status tells of"])
    add_plan(connection, 9, 70, commit="applied", scope="host/*/*", specs=["scoped"])
    add_plan(connection, 10, 60, source="g", specs=["the newest"])
    add_run(connection, "old", 1, 366)
    add_run(connection, "young", 2, 364)
    add_run(connection, "open", 3, None)
    add_run(connection, "other", 2, 400, source="g")
    add_run(connection, "older", 1, 401, source="g")
    add_run(connection, "fresh", 2, 6)
    for name in ("recorded", "observed"):
        add_spec(connection, name)
    names = {"digest": digest({"is": "recorded"}), "observed_digest": digest({"is": "observed"})}
    add(connection, "record", address="a", source="f", rules=b"{}", group="g", external_id="", commit="c", **names)
    add(connection, "observation", address="a", kind="present", digest=digest({"is": "seen"}), body=b"{}", at=NOW, settled=True)
    add_spec(connection, "named by nobody")
    for age in (400, 380, 10):
        add(connection, "log", run=FORGET, step=0, at=NOW - age * DAY, text=f"{age} days")
    add(connection, "worker", id="w", name="w", role="r", version="v", started_at=0, until=NOW - 8 * DAY)
    add(connection, "worker", id="dead", name="d", role="r", version="v", started_at=0, until=NOW - 8 * DAY)
    add(connection, "worker", id="alive", name="a", role="r", version="v", started_at=0, until=NOW - 6 * DAY)


def specs(store: Store, *texts: str) -> set[str]:
    """Those of the specifications that are there."""
    with store.read() as connection:
        found = load_specs(connection, [digest({"is": text}) for text in texts])
    return {text for text in texts if digest({"is": text}) in found}


def test_what_goes_and_what_stays(store: Store, blobs: DirectoryBlobs) -> None:
    with store.write() as connection:
        history(connection)
    blobs.put("expired", b"", expires_at=1.0)
    blobs.put("later", b"", expires_at=4e9)
    expected = Pruned(logs=2, runs=2, plans=4, specs=6, forgets=2, workers=1, deliveries=0, pulls=0, sign_ins=0, installs=0, blobs=1)
    before = everything(store)
    assert prune(store, blobs, KEEP, NOW, dry_run=True) == expected
    assert everything(store) == before and list(blobs.names()) == ["later"] and list(blobs.expired()) == ["expired"]
    assert prune(store, blobs, KEEP, NOW) == expected
    assert ids(store, "run", "id") == {"young", "open", "other", "fresh"}
    assert all(ids(store, table, "run") == {"young", "open", "other", "fresh"} for table in ("step", "item", "attempt", "lane"))
    assert ids(store, "plan", "row") == {2, 3, 4, 5, 8, 10} == ids(store, "change", "plan") == ids(store, "outline", "plan")
    gone = ["of an old run", "shared", "nobody's", "older of the applied commit", "scoped", "named by nobody"]
    kept = [
        "of a young run",
        "of an open run",
        "can still be applied",
        "young",
        "recorded",
        "observed",
        "seen",
        "what status tells of",
        "the newest",
    ]
    assert specs(store, *gone) == set() and specs(store, *kept) == set(kept)
    assert ids(store, "log", "run") == {"open", "fresh", FORGET} and ids(store, "worker", "id") == {"w", "alive"}
    assert len(list(blobs.names("runs/"))) == 2 and list(blobs.expired()) == []
    assert prune(store, blobs, KEEP, NOW) == NOTHING


def test_a_run_takes_its_archive_with_it(store: Store, blobs: DirectoryBlobs) -> None:
    with store.write() as connection:
        history(connection)
    prune(store, blobs, KEEP, NOW)
    assert prune(store, blobs, KEEP, NOW + 300 * DAY).runs == 1
    assert ids(store, "run", "id") == {"open", "other", "fresh"}, "the newest of each source stay, and what is open"
    assert {name.split("/")[1].partition(".")[0] for name in blobs.names("runs/")} == {"other", "fresh"}


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_no_transaction_takes_many_rows(database_url: str, blobs: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    for module in (archive, retention):
        monkeypatch.setattr(module, "ROWS", rows)
    store = Watched(database_url, Countdown())
    with store.write() as connection:
        history(connection)
        add_run(connection, "large", 1, 390, steps=30, lines=40)
        add_plan(connection, 11, 50, specs=[f"many {number}" for number in range(40)])
        add_plan(connection, 12, 1)
    store.most = 0
    found = prune(store, blobs, KEEP, NOW)
    assert (found.runs, found.plans) == (3, 6) and found.specs > 40
    assert 0 < store.most <= rows
    store.close()


def test_whoever_dies_the_next_one_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every commit and every blob written or deleted; on SQLite, whose transactions are the same."""
    from reconciler.store.engine import sqlite_url

    for module in (archive, retention):
        monkeypatch.setattr(module, "ROWS", 3)

    def state(n: int) -> tuple[Any, ...]:
        directory = tmp_path / str(n)
        directory.mkdir()
        countdown = Countdown()
        store, blobs = Watched(sqlite_url(directory), countdown), DirectoryBlobs(directory=directory / "blobs")
        with store.write() as connection:
            history(connection)
            connection.run("UPDATE about SET value = 'same' WHERE key = 'store_id'")
        countdown.n, countdown.ticks = n, 0
        try:
            prune(store, WatchedBlobs(blobs, countdown), KEEP, NOW)
        except Died:
            countdown.n = 0
            for run in ("young", "open", "fresh"):
                assert len(archive.load_log(store, blobs, run).lines) == 3, (n, run)
            assert specs(store, "of an open run", "recorded", "young") == {"of an open run", "recorded", "young"}
            prune(store, blobs, KEEP, NOW)
        found = everything(store), kept_of(blobs)
        with store.read() as connection:
            assert audit.verify(connection).wrong is None
        assert found[0].pop("audit")  # which tells each time what goes
        store.close()
        return (countdown.ticks >= n > 0, *found)

    whole = state(0)
    n = 1
    while (found := state(n))[0]:
        assert found[1:] == whole[1:], n
        n += 1
    assert n > 60


def test_a_plan_saved_while_prune_looks_keeps_its_specifications(
    store: Store, blobs: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at what is named and the deletion: a new plan, and a new observation, name what nobody named."""
    with store.write() as connection:
        add_plan(connection, 1, 1)
        for number in range(20):
            add_spec(connection, f"idle {number}")
    named = retention._named

    def meanwhile(connection: Connection, gone: Any) -> set[int]:
        found = named(connection, gone)
        with store.write() as other:
            save_specs(other, [{"is": "idle 3"}])
            add_plan(other, 2, 0, specs=["idle 3", "idle 4"])
            body = pack({"externalId": ""})
            add(other, "observation", address="a", kind="present", digest=digest({"is": "idle 7"}), body=body, at=other.now(), settled=True)
        return found

    monkeypatch.setattr(retention, "_named", meanwhile)
    monkeypatch.setattr(retention, "ROWS", 4)
    assert prune(store, blobs, KEEP, NOW).specs == 17
    assert specs(store, *(f"idle {number}" for number in range(20))) == {"idle 3", "idle 4", "idle 7"}


LIMITS: list[tuple[str, Callable[[Connection], None]]] = [
    ("plan", lambda c: add_plan(c, 1, 30)),
    ("run", lambda c: (add_plan(c, 1, 365), add_run(c, "r", 1, 365), add_run(c, "s", 1, 1))),  # type: ignore[func-returns-value]
]


@pytest.mark.parametrize(("table", "made"), LIMITS, ids=[table for table, _ in LIMITS])
def test_the_limit_itself(store: Store, blobs: DirectoryBlobs, table: str, made: Callable[[Connection], None]) -> None:
    with store.write() as connection:
        made(connection)
        add_plan(connection, 2, 0)
    before = len(ids(store, table, "id"))
    prune(store, blobs, KEEP, NOW)
    assert len(ids(store, table, "id")) == before
    prune(store, blobs, KEEP, NOW + 1)
    assert len(ids(store, table, "id")) == before - 1


def test_nothing_at_all(store: Store, blobs: DirectoryBlobs) -> None:
    assert prune(store, blobs, Retention(runs_days=0, plans_days=0, log_days=0), NOW) == NOTHING
    assert {table for table in TABLES if everything(store)[table]} == {"about"}


def test_sqlite_finds_what_belongs_to_a_run_by_its_key(tmp_path: Path) -> None:
    """No statement that deletes the parts of a run or plan reads a whole table."""
    from reconciler.store.engine import sqlite_url

    store = Store(sqlite_url(tmp_path))
    of = {table: (key, "run = 'r'") for table, key in retention.OF_A_RUN.items()} | {"change": (("plan", "seq"), "plan = 1")}
    with store.read() as connection:
        for table, (key, condition) in of.items():
            keys = ", ".join(key)
            query = f"EXPLAIN QUERY PLAN DELETE FROM {table} WHERE ({keys}) IN (SELECT {keys} FROM {table} WHERE {condition} LIMIT 5) RETURNING 1"
            steps = [row[3] for row in connection.rows(query)]
            assert not [step for step in steps if step.startswith(f"SCAN {table}")], (table, steps)
    store.close()


def test_the_command_says_how_much_of_what(tmp_path: Path) -> None:
    made, data = repo(tmp_path / "repo"), tmp_path / "data"
    assert quick(data, "prune").out == "nothing is old enough to go\n"
    for _ in range(2):
        assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
        made.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
    env = {"OCTOFLEET_RETENTION__LOG_DAYS": "0", "OCTOFLEET_RETENTION__RUNS_DAYS": "0"}
    would = quick(data, "prune", "--dry-run", env=env).out
    assert would == quick(data, "prune", "--dry-run", env=env).out and "runs: 1 would go" in would
    assert quick(data, "prune", env=env).out == would.replace(" would go", "")
    assert len(quick(data, "runs", "--json").json["runs"]) == 1 and quick(data, "plan", "--repo", str(made.path)).code == 0
