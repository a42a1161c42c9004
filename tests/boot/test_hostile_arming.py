"""Arming under fire: workers that were frozen, many at once, clocks that go back, hosts that go away, readers that must miss nothing."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from reconciler.boot.picture import Picture
from reconciler.drivers.netboot import NetbootDriver
from reconciler.errors import Permanent
from reconciler.store import installs
from reconciler.store.connection import Unavailable
from reconciler.store.engine import Store
from reconciler.types.installation import Stage, State
from reconciler.types.outcome import Outcome, Status
from reconciler.types.resource import address
from tests.boot.hostile import HOST, Stand, beside, standing
from tests.boot.site import ask, script
from tests.store.databases import KINDS, database


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    path = tmp_path_factory.mktemp("hostile")
    with database(request.param, path) as url, standing(path, url) as made:
        yield made


class Said:
    """What a driver is given, as far as this one asks for it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    def checkpoint(self, operation: str) -> None:
        self.lines.append(operation)


@pytest.mark.parametrize("over", [State.INSTALLED, State.FAILED, State.EXPIRED, State.CANCELLED])
def test_a_worker_that_was_frozen_arms_nothing_again(site: Stand, over: State) -> None:
    """It had looked, was stopped, and goes on when another one has brought the step to its end."""
    site.arm()
    with site.wiring.store.write() as connection:
        installs.end(connection, site.newest.id, over, connection.now())
    site.wiring.arming.arm(site.operation, HOST, 1)
    assert site.newest.state is over
    assert ("shop", "web-01") not in site.wiring.arming.going_on([HOST])


def test_a_run_that_is_over_arms_nothing(site: Stand) -> None:
    with site.wiring.store.read() as connection:
        run = connection.scalar("SELECT id FROM run WHERE ended_at IS NOT NULL LIMIT 1")
    with pytest.raises(Permanent, match="is not armed"):
        site.wiring.arming.arm(f"{run}.1", HOST, 1)
    assert HOST not in site.wiring.arming.going_on([HOST]) or site.wiring.arming.going_on([HOST])[HOST].run != run


def test_one_host_that_is_gone_does_not_hold_the_others(site: Stand) -> None:
    driver = NetbootDriver(installs=site.wiring.arming, most_s=60.0)
    site.arm()
    with site.wiring.store.write() as connection:
        gone = replace(site.newest, id="f" * 32, host="gone", token="f" * 64, attempts=3, state=State.FAILED, ended_at=connection.now())
        installs.arm(connection, gone)
        waiting = replace(
            gone, id="e" * 32, host="away", token="e" * 64, state=State.ARMED, ended_at=None, claimed_at=None, power=installs.Power.LATER
        )
        installs.arm(connection, waiting)
    context = Said()
    results = driver.poll(site.operation, context)  # type: ignore[arg-type]
    failed = results[address("netboot", "install", "shop", "gone")]
    assert isinstance(failed, Outcome)
    assert failed.status is Status.FAILED
    assert "nothing is on record" in failed.error
    assert not isinstance(results[address("netboot", "install", *HOST)], Outcome), "that one goes on"
    with site.wiring.store.write() as connection:
        installs.end(connection, "e" * 32, State.CANCELLED, connection.now())


def test_one_installation_of_a_host_whatever_happens_at_once(site: Stand) -> None:
    """Arming, claiming, reporting, releasing, expiring and cancelling from many threads and two stores; a reader beside them misses nothing."""
    other = Store(site.wiring.store.url)
    random, began = Random(8), time.time()
    reader, last = Picture(site.wiring.store), 0
    reader.refresh()

    def act(number: int) -> None:
        store = other if number % 2 else site.wiring.store
        what = random.randrange(6)
        if what == 0:
            with suppress(Permanent):
                replace_store(site, store).arm(f"chaos{number}.1", HOST, 1)
            return
        with store.write() as connection:
            of = installs.open_installation_of(connection, *HOST, lock=True)
            if of is None:
                return
            now = connection.now()
            match what:
                case 1:
                    installs.claim(connection, of.id, f"10.0.0.{number % 9}", now)
                case 2:
                    installs.released(connection, of.id, f"10.0.0.{number % 9}", now)
                case 3:
                    installs.report(connection, of, list(Stage)[number % 4], now)
                case 4:
                    installs.cancel(connection, of.run, now, begun=bool(number % 2))
                case _:
                    installs.end(connection, of.id, State.EXPIRED, now)

    with ThreadPoolExecutor(6) as threads:
        done = [threads.submit(act, number) for number in range(300)]
        while not all(one.done() for one in done):
            reader.refresh()
            assert reader._seq >= last, "never back"
            last = reader._seq
        for one in done:
            one.result()
    reader.refresh()
    with other.read() as connection:
        now = installs.open_installation_of(connection, *HOST)
        rows = list(connection.rows("SELECT seq FROM installation WHERE armed_at >= ?", (began - 1,)))
        open_rows = connection.scalar("SELECT count(*) FROM installation WHERE tenant = ? AND host = ? AND ended_at IS NULL", HOST)
    assert open_rows <= 1
    assert len(rows) == len(set(rows))
    assert reader.installations.get(HOST) == now
    assert set(reader.by_token) == ({now.token} if now else set())
    other.close()


def replace_store(site: Stand, store: Store):  # type: ignore[no-untyped-def]
    return replace(site.wiring.arming, store=store)


def test_a_reader_goes_on_where_rows_were_let_go_of(site: Stand) -> None:
    """After a restore, or when what is old was let go of, numbers may be lower than what a process has seen."""
    site.arm()
    reader = Picture(site.wiring.store)
    reader.refresh()
    assert HOST in reader.installations
    with site.wiring.store.write() as connection:
        connection.run("DELETE FROM installation")
    reader.refresh()
    assert not reader.installations
    assert not reader.by_token
    site.arm()
    reader.refresh()
    assert reader.installations[HOST].id == site.newest.id


def test_what_has_ended_is_not_read_at_the_start(site: Stand) -> None:
    """Years of installations, with 16 KiB of log each, are not loaded into each process."""
    site.arm()
    with site.wiring.store.write() as connection:
        newest, found = installs.changed_since(connection, 0)
        assert [item.id for item in found] == [site.newest.id]
        assert newest == connection.scalar("SELECT max(seq) FROM installation")


def test_the_clock_of_a_machine_that_asks_counts_for_nothing(site: Stand) -> None:
    url = site.arm()
    for date in ("Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:00 GMT"):
        assert ask(url, headers={"Date": date}).status == 200


def test_an_installation_whose_run_is_given_up_by_whatever_way_is_not_served(site: Stand) -> None:
    url = site.arm()
    assert ask(url).status == 200
    with site.wiring.store.write() as connection:
        run = connection.scalar("SELECT id FROM run WHERE ended_at IS NOT NULL LIMIT 1")
        connection.run(f"UPDATE installation SET run = ?, seq = {installs.NEXT} WHERE id = ?", (run, site.newest.id))
    with beside(site) as other:
        assert ask(url).status == 404
        assert ask(url.replace(site.url, other)).status == 404
        assert "sanboot" in script(site)
        site.until(lambda: site.newest.state is State.CANCELLED)


class Away:
    """A database that is away for as long as somebody says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.so = False
        real = Store._transaction

        def transaction(store: Store, access: str):  # type: ignore[no-untyped-def]
            if self.so:
                raise Unavailable("the database is away")
            return real(store, access)  # type: ignore[arg-type]

        monkeypatch.setattr(Store, "_transaction", transaction)


def test_while_the_database_is_away_machines_wait_or_boot_from_their_disk(site: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    url = site.arm()
    assert ask(url).status == 200
    away = Away(monkeypatch)
    away.so = True
    assert ask(url).status == 503, "nobody knows whether it is still armed"
    assert site.call(url, "installed").status == 503
    assert ask(f"{site.url}/boot/ipxe?mac=52-54-00-00-00-01", source="127.0.0.9").status in {200, 503}
    monkeypatch.setattr("reconciler.boot.server.OLD_S", 0.0)
    assert ask(f"{site.url}/boot/ipxe?mac=52-54-00-00-00-01").status == 503
    assert ask(f"{site.url}/boot/grub/grub.cfg-01-52:54:00:00:00:01").status == 503
    monkeypatch.undo()
    site.until(lambda: ask(url).status == 200)
    assert site.call(url, "installed").text == "installed\n", "afterwards it goes on"
    unforeseen = [fields for name, fields in site.told if name == "request-failed"]
    assert not unforeseen


def test_a_host_that_goes_away_while_it_is_armed_takes_its_files_with_it(tmp_path: Path) -> None:
    """Also those that were rendered before, and are in memory."""
    with standing(tmp_path) as site:
        url = site.arm()
        assert ask(url).status == 200
        with site.wiring.store.write() as connection:
            connection.run("DELETE FROM record WHERE address = ?", (address("netboot", "machine", *HOST),))
            connection.run("UPDATE mark SET seq = seq + 1")
            connection.run('UPDATE touched SET seq = (SELECT max(seq) FROM mark) WHERE "group" = ?', ("host/shop/web-01",))
        assert ask(url).status == 404
        assert "installing" not in script(site)


def test_a_restored_database_is_read_anew(tmp_path: Path) -> None:
    """Its numbers may be lower than what a process has seen; hosts that came since the backup are gone."""
    with standing(tmp_path) as site:
        reader = Picture(site.wiring.store)
        reader.refresh()
        assert HOST in reader.hosts
        with site.wiring.store.write() as connection:
            connection.run("DELETE FROM record WHERE address = ?", (address("netboot", "machine", *HOST),))
            connection.run("UPDATE mark SET seq = seq - 1")
        reader.refresh()
        assert not reader.hosts
        assert not reader.machines
