"""What the journal costs follows the steps that it writes, not the run that they belong to: work is counted, not timed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.gate.windows import Subject
from reconciler.store.engine import Connection, Store, sqlite_url
from reconciler.store.journal import Begun, Ended, Lease, write
from reconciler.store.leases import Room, WorkerRow, beat, claim
from reconciler.store.plans import save_plan
from reconciler.store.records import save_records, save_specs
from reconciler.store.runs import MANY, Item, JournalRun, JournalStep, create_run
from reconciler.types.canonical import digest
from reconciler.types.change import Action, Change
from reconciler.types.observation import Absent
from reconciler.types.origin import Origin
from reconciler.types.outcome import Status
from reconciler.types.plan import Plan
from reconciler.types.values import Spec
from tests.store.made import RULES, record

PLAN = Plan(source="f", scope="", commit="c", base=None, created_at=0.0, expires_at=0.0, changes=())
TENANTS = 20


def begin(connection: Connection, number: int, changes: Sequence[Change] = ()) -> None:
    """A run of so many steps and, a wave later, of some changes; and a worker that may take them."""
    steps = [
        JournalStep(
            seq=n, wave=0, driver="d", tenant=f"t{n % TENANTS}", items=(Item(address=f"d/k/t/{n}", change=n, action=Action.CREATE),)
        )
        for n in range(number)
    ]
    items = tuple(Item(address=change.address, change=n, action=change.action) for n, change in enumerate(changes))
    steps += [JournalStep(seq=number, wave=1, driver="", tenant="t0", items=items)] if items else []
    row = save_plan(connection, replace(PLAN, changes=tuple(changes)), "nowhere")
    run = JournalRun(id="run", plan=row, source="f", state="running", started_at=0.0, ended_at=None, reason="")
    create_run(connection, run, steps)
    beat(connection, WorkerRow(id="w", name="w", role="apply", version="", started_at=0.0, until=connection.now() + 1e6))


def moved_out(where: str, before: Spec, after: Spec) -> Change:
    """An update of a Host."""
    return Change(
        address=where,
        action=Action.UPDATE,
        fields=(),
        before_digest=digest(before),
        after_digest=digest(after),
        desired_digest=digest(after),
        rules=RULES,
        group=where.removeprefix("fleet/"),
        origin=Origin(path="h.yaml"),
    )


def take(connection: Connection) -> list[tuple[Lease, str]]:
    found = claim(connection, "w", Room(slots=50, drivers={"d": 50}))
    return [(Lease(run=run, step=s.seq, fence=s.fence), s.items[0].address) for run, steps in found.items() for s in steps]


def finish(connection: Connection) -> int:
    """Take steps, begin them and end them; how many."""
    leases = take(connection)
    write(connection, [Begun(lease=lease) for lease, _ in leases])
    ended = [
        Ended(
            lease=lease,
            statuses={where: (Status.DONE, "")},
            records=[record(where, group=f"host/t/{where}")],
            seen={where: Absent(at=1.0)},
            lines=["x"],
        )
        for lease, where in leases
    ]
    assert not any(write(connection, ended))
    return len(leases)


def work(tmp_path: Path, number: int) -> int:
    """How many instructions of SQLite's machine 50 steps of a run of so many cost, in hundreds."""
    store, count = Store(sqlite_url(tmp_path)), 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    with store.write() as connection:
        begin(connection, number)
        save_records(connection, [record(f"d/k/old/{n}") for n in range(number)])
        finish(connection)
        connection._raw.set_progress_handler(step, 100)
        assert finish(connection) == 50
        connection._raw.set_progress_handler(None, 0)
    store.close()
    return count


def test_a_step_of_a_large_run_costs_what_one_of_a_small_run_does(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    small, large = work(tmp_path / "small", 200), work(tmp_path / "large", 4000)
    assert 0 < large < 1.5 * small


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_steps_of_many_tenants_are_taken_with_few_statements(store: Store) -> None:
    said: list[str] = []
    with store.write() as connection:
        begin(connection, 2 * TENANTS)
        connection._raw.set_trace_callback(said.append)
        assert len(take(connection)) == 2 * TENANTS
        connection._raw.set_trace_callback(None)
    assert len([text for text in said if not text.startswith("--")]) < 12 + 2 * TENANTS, "one for each attempt that is noted, and few more"


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("when", ["now", "before"])
def test_labels_are_looked_up_once_for_all_steps_that_begin(store: Store, when: str) -> None:
    """Every second host has now, or had before this run, the labels of the window."""
    window = {"labels": {"site": "ams1"}, "times": [{"start": "2001-01-01T00:00", "duration": "1h"}]}
    inside, outside = {"labels": {"site": "ams1"}}, {"labels": {"site": "ber1"}}
    hosts = [f"fleet/host/t/{n}" for n in range(0, TENANTS, 2)]
    said: list[str] = []
    with store.write() as connection:
        begin(connection, TENANTS, [moved_out(where, inside, outside) for where in hosts] if when == "before" else [])
        save_specs(connection, [window, inside, outside])
        save_records(connection, [record("fleet/maintenancewindow/-/w", source="f", digest=digest(window))])
        save_records(connection, [record(where, source="f", digest=digest(inside if when == "now" else outside)) for where in hosts])
        begun = [
            Begun(lease=lease, source="f", subjects=[Subject(address=where, group=host, host=host)])
            for lease, where in take(connection)
            for host in [f"host/t/{lease.step}"]
        ]
        connection._raw.set_trace_callback(said.append)
        told = write(connection, begun)
        connection._raw.set_trace_callback(None)
    assert len(told) == TENANTS and told == ["" if entry.lease.step % 2 else "gated" for entry in begun]
    looks = {"now": 2, "before": 3}[when]
    assert sum("FROM spec" in text for text in said) <= looks, "once for the windows, once for the hosts now, and once for those before"
    assert sum("FROM item" in text and "address" in text for text in said) <= 1


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("number", "known"), [(MANY - 1, False), (MANY, True)])
def test_the_server_knows_of_a_large_run_before_its_steps_are_looked_for(store: Store, number: int, known: bool) -> None:
    with store.write() as connection:
        begin(connection, number)
    with store.read() as connection:
        assert (connection.scalar("SELECT reltuples FROM pg_class WHERE relname = 'step'") == number) == known
