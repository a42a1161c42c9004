"""What playbook runs tell, in the database: written once under its lease, read in bounded parts, and gone with its run."""

from functools import partial
from pathlib import Path
from threading import Event, get_ident

import pytest

from reconciler.apply.journal import Journal
from reconciler.apply.telling import Telling
from reconciler.store.engine import Connection, Store
from reconciler.store.journal import Did, Entry, Lease, write
from reconciler.store.retention import OF_A_RUN
from reconciler.store.runs import read_log
from reconciler.store.tables import metadata
from reconciler.store.tasks import AT_ONCE, save_tasks, slow_tasks, slowest_hosts, tasks_before, totals_of_run
from reconciler.types.task import Counted, HostTotal, PlayTold, TaskTold, TaskTotal
from tests.operations.rows import add
from tests.store.databases import connection, database_url, kind, store  # noqa: F401 - fixtures
from tests.store.test_journal_work import begin, take


def task(host: str, name: str = "Install", status: str = "changed", at: float = 1.0, message: str = "") -> TaskTold:
    return TaskTold(tenant="t", host=host, name=name, place="p.yml:1", status=status, at=at, seconds=1.0, message=message)


def total(number: int, name: str, most_s: float = 1.0, slowest: str = "a", **counts: int) -> TaskTotal:
    counted = Counted(**counts)
    return TaskTotal(
        tenant="t", number=number, name=name, place="p.yml:1", counted=counted, seconds=most_s * 2, most_s=most_s, slowest=slowest
    )


@pytest.fixture
def lease(store: Store) -> Lease:  # noqa: F811
    with store.write() as made:
        begin(made, 2)
        return take(made)[0][0]


def test_what_is_told_under_a_lease_is_kept_and_under_a_lost_one_is_not(store: Store, lease: Lease) -> None:  # noqa: F811
    of_host = HostTotal(tenant="t", host="a", counted=Counted(changed=1), seconds=1.0, at=1.0)
    play = PlayTold(tasks=(task("a"),), totals=(total(0, "Install", changed=1),), hosts=(of_host,))
    lost = Lease(run=lease.run, step=lease.step, fence=lease.fence - 1)
    with store.write() as made:
        assert write(made, [Did(lease=lease, play=play), Did(lease=lost, play=play)]) == ["", "lost"]
        assert [row.host for _, row in tasks_before(made, None)] == ["a"]
        assert made.scalar("SELECT count(*) FROM host_total") == 1


def test_a_step_that_is_taken_up_again_tells_beside_what_it_told(connection: Connection) -> None:  # noqa: F811
    begin(connection, 1)
    first, again = PlayTold(totals=(total(0, "A", ok=1), total(1, "B", failed=1))), PlayTold(totals=(total(0, "A", ok=2),))
    save_tasks(connection, [("run", 0, 1, first), ("run", 0, 2, again)])
    save_tasks(connection, [("run", 0, 2, again)])
    assert [(row.name, row.counted) for row in totals_of_run(connection, "run")] == [("B", Counted(failed=1)), ("A", Counted(ok=3))]


def test_lists_are_narrowed_and_read_in_parts(connection: Connection) -> None:  # noqa: F811
    begin(connection, 1)
    many = tuple(task(f"h{n}", at=float(n), status="failed" if n % 2 else "changed", message=f"Disk {n} is 100% full") for n in range(1200))
    save_tasks(connection, [("run", 0, 1, PlayTold(tasks=many))])
    assert [row.at for _, row in tasks_before(connection, None)] == [float(n) for n in reversed(range(1200))]
    assert {source for source, _ in tasks_before(connection, None)} == {"f"}
    assert [row.host for _, row in tasks_before(connection, None, of=("t", "h7"))] == ["h7"]
    assert len(list(tasks_before(connection, None, status="failed", since=1000.0))) == 100
    assert [row.host for _, row in tasks_before(connection, None, text="disk 77 IS 100%")] == ["h77"]
    assert not list(tasks_before(connection, None, text="100%full")) and not list(tasks_before(connection, None, run="other"))
    asked = []
    rows = connection.rows
    connection_rows = lambda *given: asked.append(given) or rows(*given)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(connection), "rows", lambda self, *given: connection_rows(*given))
        found = tasks_before(connection, None)
        assert [next(found)[1].host for _ in range(50)] and len(asked) == 1 and AT_ONCE == 500


def test_a_search_reads_nothing_of_runs_that_ended_before_its_time(tmp_path: Path) -> None:
    scanned: list[int] = []
    for old in (100, 5000):
        opened = Store(f"sqlite:///{tmp_path / f'{old}.db'}")
        with opened.write() as made:
            begin(made, 1)
            row = {"plan": made.scalar("SELECT plan FROM run"), "source": "f", "state": "done", "started_at": 0.0, "reason": ""}
            add(made, "run", id="long-ago", ended_at=10_000.0, **row)
            add(made, "run", id="ended", ended_at=20_000.0, **row)
            add(made, "run", id="by-another-clock", ended_at=19_500.0, **row)
            save_tasks(made, [("long-ago", 0, 1, PlayTold(tasks=tuple(task(f"h{n}", at=9000.0) for n in range(old))))])
            for run in ("by-another-clock", "ended", "run"):
                save_tasks(made, [(run, 0, 1, PlayTold(tasks=(task(run, at=19_900.0), task("early", at=100.0))))])
        with opened.read() as made:
            ticks: list[int] = []
            made._raw.set_progress_handler(partial(ticks.append, 1), 10)
            assert [row.host for _, row in tasks_before(made, None, since=19_800.0)] == ["run", "ended", "by-another-clock"]
            assert not list(tasks_before(made, None, since=19_800.0, text="nowhere"))
            made._raw.set_progress_handler(None, 0)
            scanned.append(len(ticks))
            assert len(list(tasks_before(made, None, since=1.0))) == old + 6
            assert [row.run for _, row in tasks_before(made, None, since=9000.0, of=("t", "h7"))] == ["long-ago"]
        opened.close()
    assert scanned[0] == scanned[1] > 0


def test_a_time_before_which_all_runs_ended_has_no_results(connection: Connection) -> None:  # noqa: F811
    begin(connection, 1)
    save_tasks(connection, [("run", 0, 1, PlayTold(tasks=(task("a", at=5.0),)))])
    assert [row.host for _, row in tasks_before(connection, None, since=1.0)] == ["a"]
    connection.run("UPDATE run SET ended_at = 6.0")
    assert [row.host for _, row in tasks_before(connection, None, since=5.0)] == ["a"]
    assert not list(tasks_before(connection, None, since=5000.0))


def test_the_slowest_by_all_and_by_one(connection: Connection) -> None:  # noqa: F811
    begin(connection, 1)
    plays = [total(0, "A", 1.0, ok=1), total(1, "B", 5.0, "b", ok=1)], [total(0, "A", 4.5, "c", ok=1)]
    save_tasks(connection, [("run", step, 1, PlayTold(totals=tuple(of))) for step, of in enumerate(plays)])
    assert [(row.name, row.seconds, row.most_s, row.runs, row.times) for _, row in slow_tasks(connection, 0.0)] == [
        ("A", 11.0, 4.5, 1, 2),
        ("B", 10.0, 5.0, 1, 1),
    ]
    assert [row.name for _, row in slow_tasks(connection, 0.0, by_most=True, run="run")] == ["B", "A"]
    assert not list(slow_tasks(connection, 1e12)) and not list(slow_tasks(connection, 0.0, run="other"))
    assert slowest_hosts(connection, "run", [4.5, 5.0]) == {("t", "A", "p.yml:1", 4.5): "c", ("t", "B", "p.yml:1", 5.0): "b"}


def test_every_table_of_tasks_goes_with_its_run() -> None:
    of_runs = {table.name for table in metadata.sorted_tables if {"run", "step"} <= set(table.columns.keys())}
    assert of_runs <= OF_A_RUN.keys() | {"installation", "occurrence"}


def test_telling_never_waits_and_tells_what_it_let_go(store: Store, lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    journal, slow, writers = Journal(store), Event(), set[int]()
    real = journal.write

    def slowly(entry: Entry) -> None:
        writers.add(get_ident())
        slow.wait(60)
        real(entry)

    monkeypatch.setattr(journal, "write", slowly)
    telling = Telling(journal, lease, most=10)
    for _ in range(20):
        telling.tell(PlayTold(tasks=(task("a"), task("b"))))
    telling.tell(PlayTold(totals=(total(0, "Install", changed=40),)))
    assert get_ident() not in writers
    slow.set()
    telling.close()
    journal.flush()
    with store.read() as made:
        assert made.scalar("SELECT count(*) FROM task") == 10
        assert [row.counted.changed for row in totals_of_run(made, lease.run)] == [40]
        lines = [text for _, _, text in read_log(made, lease.run)]
    assert lines == ["30 results of tasks were not kept, as the database did not take them in time; the totals count them"]


def test_telling_outlives_a_lost_lease(store: Store, lease: Lease) -> None:  # noqa: F811
    telling = Telling(Journal(store), Lease(run=lease.run, step=lease.step, fence=lease.fence + 1))
    telling.tell(PlayTold(tasks=(task("a"),)))
    telling.close()
    with store.read() as made:
        assert made.scalar("SELECT count(*) FROM task") == 0


def test_nothing_told_costs_no_thread(tmp_path: Path) -> None:
    made = Telling(Journal(Store(f"sqlite:///{tmp_path / 'x.db'}")), Lease(run="r", step=0, fence=1))
    made.close()
    assert made._thread is None
