"""The database: what goes in comes out, and errors are ones that a user can act on."""

# ruff: noqa: E501 - tables read better with one case on a line

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import OctofleetError
from reconciler.store.conditions import unsettled
from reconciler.store.engine import Store, sqlite_url
from reconciler.store.observations import (
    drop_observations,
    load_observations,
    oldest,
    open_addresses,
    otherwise_seen,
    save_observations,
    unsettle,
)
from reconciler.store.plans import find_plan, load_plan, plan_head, save_plan
from reconciler.store.records import (
    Counts,
    applied_commit,
    drop_records,
    load_records,
    load_specs,
    recorded_groups,
    records_of,
    save_records,
    save_source,
    save_specs,
    sources,
)
from reconciler.store.standings import otherwise
from reconciler.types.canonical import digest
from reconciler.types.change import MISSING, Action, Cause, Change, FieldChange, Risk
from reconciler.types.observation import Absent, Observation, Present, Proposed, ProposedField, Unknown
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred, GuardVerdict, Plan
from reconciler.types.problem import Problem, Severity
from reconciler.types.values import KnownAfter, Secret, SecretRef
from tests.store.made import RULES, record

SECRET = Secret(ref=SecretRef(store="s", key="k/1"), token="t" * 64)


def test_many_processes_may_be_the_first(empty_url: str) -> None:
    failed: list[BaseException] = []

    def first() -> None:
        try:
            Store(empty_url).close()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=first) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


def test_records_round_trip_and_have_one_owner(store: Store) -> None:
    many = [record(f"m/k/shop/n{n}", group=f"host/shop/n{n}") for n in range(1200)]
    with store.write() as connection:
        save_records(connection, many)
        save_records(connection, [record("m/k/shop/n0", digest="e" * 64), record("m/j/lab/x", source="other")])
    with store.read() as connection:
        found = load_records(connection, [item.address for item in many])
        assert len(found) == 1200 and found["m/k/shop/n7"] == many[7] and found["m/k/shop/n0"].digest == "e" * 64
        assert dict(Counts(connection, "f")) == {("m", "k"): 1200} and dict(Counts(connection, "other")) == {("m", "j"): 1}
        assert [
            where for found in records_of(connection, "other", list(recorded_groups(connection, "other"))).values() for where, _, _ in found
        ] == ["m/j/lab/x"]
    with store.write() as connection:
        drop_records(connection, [item.address for item in many])
    with store.read() as connection:
        assert dict(Counts(connection, "f")) == {}


SEEN: dict[str, Observation] = {
    "a/b/c/present": Present(spec={"p": SECRET, "n": [1, None, True]}, digest="d", at=1.5, external_id="id"),
    "a/b/c/absent": Absent(at=2.0),
    "a/b/c/proposed": Proposed(fields=(ProposedField(path="/a", before=None, after={"b": 1}, diff="+b"),), digest="e", at=3.0, blind_spots=("x",), artifact="y"),
    "a/b/c/unknown": Unknown(code="unreachable", reason="no answer", at=4.0),
}  # fmt: skip


def test_observations_round_trip(store: Store) -> None:
    with store.write() as connection:
        save_observations(connection, SEEN, {where: "present" in where for where in SEEN})
        save_records(connection, [record(where) for where in SEEN])
    with store.read() as connection:
        assert load_observations(connection, list(SEEN)) == SEEN
        assert sorted(open_addresses(connection, "f")) == sorted(where for where in SEEN if "present" not in where)
        assert oldest(connection, "f") == 1.5 and oldest(connection, "nobody") is None
    with store.write() as connection:
        save_observations(connection, {"a/b/c/absent": SEEN["a/b/c/present"]}, {"a/b/c/absent": True})
        drop_observations(connection, ["a/b/c/present"])
    with store.read() as connection:
        assert set(load_observations(connection, list(SEEN))) == set(SEEN) - {"a/b/c/present"}


def test_what_a_run_may_have_touched_is_looked_at_again_and_is_no_drift(store: Store) -> None:
    """An operation unsettles the resources of its host: the next plan looks at them, and until then nothing is said to have drifted."""
    as_recorded = Present(spec={"x": 1}, digest=record("a/b/c/one").digest, at=1.0)
    found: dict[str, Observation] = {
        "a/b/c/one": as_recorded,
        "a/b/c/two": Proposed(fields=(), digest="d", at=1.0),
        "a/b/c/three": Proposed(fields=(ProposedField(path="/a", before=1, after=2),), digest="d", at=1.0),
    }
    with store.write() as connection:
        save_observations(connection, found, {where: "three" not in where for where in found})
        save_records(connection, [replace(record(where), observed_digest=as_recorded.digest) for where in found])
        unsettle(connection, list(found))
    with store.read() as connection:
        assert load_observations(connection, list(found)) == found
        assert sorted(open_addresses(connection, "f")) == sorted(found)
        assert otherwise_seen(connection, "f") == ["a/b/c/three"] == [one.address for one in unsettled(connection)]
        assert [address for _, _, address, _ in otherwise(connection)] == ["a/b/c/three"]


def test_specifications_are_kept_by_digest_with_their_newest_references(store: Store) -> None:
    moved = Secret(ref=SecretRef(store="other", key="k"), token="t" * 64)
    with store.write() as connection:
        save_specs(connection, [{"p": SECRET}, {"k": KnownAfter(address="a/b/c/d", path="/x")}])
        save_specs(connection, [{"p": moved}])
    with store.read() as connection:
        found = load_specs(connection, [digest({"p": SECRET}), digest({"k": KnownAfter(address="a/b/c/d", path="/x")}), "no"])
    assert len(found) == 2 and found[digest({"p": SECRET})]["p"].ref.store == "other"


def plan() -> Plan:
    origin = Origin(path="f.yaml", line=2, column=3)
    fields = (
        FieldChange(path="/a", before=None, after=SECRET, causes=frozenset({Cause.INPUT, Cause.DRIFT}), diff="-x"),
        FieldChange(path="/b", recorded=[1], after=MISSING),
    )
    change = Change(
        address="m/k/shop/a", action=Action.MOVE, fields=fields, before_digest="b", after_digest="a", desired_digest="d", rules=RULES, group="host/shop/a",
        origin=origin, causes=frozenset({Cause.COMMIT}), risk=frozenset({Risk.ACCESS}), moved_from="m/k/shop/z", wave=4, depends_on=("m/k/shop/y",), blind_spots=("s",),
    )  # fmt: skip
    return Plan(
        source="f", scope="host/*", commit="c" * 40, base=None, created_at=1.0, expires_at=2.0, changes=(change,), hosts=3, observed_from=0.5,
        deferred=(Deferred(address="x", code="c", reason="r", group="g"),), guards=(GuardVerdict(guard="g", refuses=True, message="m", hint="h", addresses=("x",)),),
        problems=(Problem(origin=origin, code="c", message="m", hint="h", severity=Severity.WARNING),),
    )  # fmt: skip


def test_plans_round_trip(store: Store) -> None:
    made = plan()
    with store.write() as connection:
        rows = [save_plan(connection, made, "/repo"), save_plan(connection, made, "/repo")]
    with store.read() as connection:
        again = load_plan(connection, rows[0])
        assert again == made and again.id == made.id
        assert again.changes[0].fields[1].after is MISSING and again.changes[0].fields[0].before is None
        assert find_plan(connection, made.id[:8]) == find_plan(connection, made.id[:8].upper()) == [(rows[1], made.id), (rows[0], made.id)]
        assert (
            find_plan(connection, "%") == []
            and find_plan(connection, "_" * len(made.id)) == []
            and plan_head(connection, rows[0]).location == "/repo"
        )


def test_sources(store: Store) -> None:
    with store.write() as connection:
        save_source(connection, "f", "/a", "c1", 1.0)
        save_source(connection, "f", "/b", "c2", 2.0)
        save_records(connection, [record("m/k/s/a")])
    with store.read() as connection:
        assert applied_commit(connection, "f") == ("c2", "/b") and applied_commit(connection, "g") is None
        assert [(item["name"], item["resources"]) for item in sources(connection)] == [("f", 1)]


def test_a_write_happens_whole_or_not_at_all(store: Store) -> None:
    with pytest.raises(ValueError, match="stop"), store.write() as connection:
        save_records(connection, [record("m/k/s/a")])
        raise ValueError("stop")
    with store.read() as connection:
        assert not load_records(connection, ["m/k/s/a"])


@pytest.mark.parametrize("damage", ["not a database", "newer", "missing directory", "directory"])
def test_errors_say_what_to_do(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "octofleet.db"
    if damage == "not a database":
        path.write_bytes(b"this is no database at all" * 100)
    elif damage == "directory":
        path.mkdir()
    elif damage == "newer":
        Store(sqlite_url(tmp_path)).close()
        with sqlite3.connect(path) as database:
            database.execute("update alembic_version set version_num = '9999'")
            database.execute("update about set value = '9999' where key = 'readable_from'")
    where = tmp_path / "gone" if damage == "missing directory" else tmp_path
    with pytest.raises(OctofleetError) as caught:
        Store(sqlite_url(where))
    assert caught.value.hint and caught.value.code == "store"


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///x.db", "mysql://user:hunter2@host/db", "/a/path", ""]
)
def test_only_an_sqlite_file_or_postgresql_is_taken(url: str) -> None:
    with pytest.raises(OctofleetError) as caught:
        Store(url)
    assert caught.value.code == "settings" and "sqlite:///PATH" in caught.value.hint and "postgresql://" in caught.value.hint
    assert "hunter2" not in str(caught.value)


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    odd = tmp_path / "a ?b=%20#"
    odd.mkdir()
    Store(sqlite_url(odd)).close()
    assert (odd / "octofleet.db").exists()
