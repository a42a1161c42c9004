"""Rounds of a server's alerts on both kinds of database: what is noticed, what is stored before it is sent, and who sends."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest

from reconciler import alerting, stages
from reconciler.alert.channel import Channel
from reconciler.alert.condition import Condition, Event
from reconciler.alerting import Alerts
from reconciler.apply.task import GATE
from reconciler.drivers.memory import Fault
from reconciler.errors import RetryLater
from reconciler.noticing import Notices
from reconciler.planning import make_plan
from reconciler.sending import Text
from reconciler.settings import Secrets, Settings, Store
from reconciler.store.alerts import failing, load_conditions, load_lines
from reconciler.store.engine import Connection
from reconciler.store.followed import APPROVAL, follow
from reconciler.store.leases import WorkerRow, beat
from reconciler.types.request import Request
from tests.fleets import host
from tests.gate.site import Site
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]

LAB = "apiVersion: octofleet/v1\nkind: Tenant\nmetadata: {name: lab}\nspec: {}\n"


def channel(name: str, spec: str = "", *, tenant: str = "", keys: str = "one") -> str:
    to = ", ".join(f"{{secretRef: {{store: s, key: {key}}}}}" for key in keys.split())
    owner = f", tenant: {tenant}" if tenant else ""
    return f"apiVersion: octofleet/v1\nkind: AlertChannel\nmetadata: {{name: {name}{owner}}}\nspec:\n  to: [{to}]\n  group: 1s\n{spec}"


class Told:
    """Stands where messages leave: by URL what was sent; `fail` says which do not arrive."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Text]] = []
        self.fail: set[str] = set()
        self.before: Callable[[], None] = lambda: None

    def __call__(self, url: str, texts: list[Text], timeout_s: float = 0.0) -> None:
        self.before()
        if url in self.fail:
            raise RetryLater(f"{url} is dead", code="alert-failed")
        self.sent += [(url, text) for text in texts]

    def bodies(self, url: str = "json://one") -> list[str]:
        return [text.body for where, text in self.sent if where == url]


class Server:
    """A site whose channels are in force, and the alerts of one process that serves it."""

    def __init__(self, site: Site, told: Told, name: str = "w1") -> None:
        self.site, self.told, self.name = site, told, name
        self.alerts = Alerts(installation=site.installation, worker=name)
        with site.store.write() as connection:
            beat(connection, WorkerRow(id=name, name=name, role="serve", version="1", started_at=0, until=9e12))

    def round(self) -> None:
        """Look, let what has to be gathered have been so for a while, and let what is sent then arrive; the next round notes it."""
        self.alerts.once()
        self.site.write("UPDATE alert_entry SET at = at - 10, over_at = over_at - 10")
        self.alerts.once()
        wait([one.future for one in self.alerts._under_way.values()], 30)

    def rounds(self) -> None:
        for _ in range(3):
            self.round()

    def open(self) -> dict[str, Condition]:
        with self.site.store.read() as connection:
            return load_conditions(connection)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    made = Told()
    monkeypatch.setattr(alerting, "send", made)
    yield made


def served(tmp_path: Path, url: str, told: Told, monkeypatch: pytest.MonkeyPatch, *, hosts: int = 2, **files: str) -> Server:
    for key in ("one", "two", "three"):
        monkeypatch.setenv(f"ALERT_{key}", f"json://{key}")
    site = Site(tmp_path, url, hosts=hosts, files={f"{name}.yaml": text for name, text in files.items()})
    secrets = Secrets(stores={"s": Store(type="env", prefix="ALERT_", tenants=["*"])})
    site.installation = replace(site.installation, settings=Settings(database_url=url, secrets=secrets))
    site.settle()
    return Server(site, told)


def drift(server: Server, *, name: str = "web-01") -> None:
    server.site.world.put(f"memory/config/shop/{name}", {"by": "hand"})
    look(server.site)


def look(site: Site) -> None:
    make_plan(site.installation, site.installation.repository(str(site.repo.path)), Request(refresh=True))


def test_drift_is_told_by_host_and_over_when_it_is_healed(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c"), lab=LAB, other=channel("ops", tenant="lab", keys="two"))
    server.rounds()
    assert told.sent == [] and server.open() == {}
    drift(server)
    server.rounds()
    (body,) = told.bodies()
    assert "drift found: host/shop/web-01: last seen otherwise than recorded: memory/config/shop/web-01" in body
    assert told.bodies("json://two") == [], "another tenant's channel hears nothing"
    drift(server, name="web-02")
    server.rounds()
    assert "host/shop/web-02" in told.bodies()[1] and "host/shop/web-01" not in told.bodies()[1], "what was told is not told again"
    server.site.settle()
    server.rounds()
    assert sorted(told.bodies()[2].splitlines()) == ["over: drift found: host/shop/web-01", "over: drift found: host/shop/web-02"]
    assert server.open() == {} and len(told.sent) == 3
    with server.site.store.read() as connection:
        assert all(not line.entries for line in load_lines(connection).values())


def test_what_follows_as_soon_as_a_message_arrived_is_sent_once(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, go = served(tmp_path, database_url, told, monkeypatch, c=channel("c")), Flag()
    told.before = lambda: go.wait(30) and None
    drift(server)
    server.alerts.once()
    server.site.write("UPDATE alert_entry SET at = at - 10")
    server.alerts.once()
    drift(server, name="web-02")
    server.alerts.once()
    server.site.write("UPDATE alert_entry SET at = at - 10")
    go.set()
    wait([one.future for one in server.alerts._under_way.values()], 30)
    server.alerts.once()
    wait([one.future for one in server.alerts._under_way.values()], 30)
    assert len(server.alerts._under_way) == 1, "nobody will hear that the second one arrived"
    server.rounds()
    assert len(told.sent) == 2 and "host/shop/web-02" in told.bodies()[1]


def test_it_is_stored_before_it_is_sent_and_sent_again_by_the_next_if_nobody_knows(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c"))
    seen: list[list[bool]] = []

    def stored() -> None:
        with server.site.store.read() as connection:
            seen.append([entry.tried for line in load_lines(connection).values() for entry in line.entries.values()])

    told.before = stored
    drift(server)
    server.round()
    assert seen == [[True]] and len(told.sent) == 1
    again = Server(server.site, told, "w1")  # the process died before it could store that it was told
    again.rounds()
    assert len(told.sent) == 2
    third = Server(server.site, told, "w1")
    third.rounds()
    assert len(told.sent) == 2, "what is known to have been told is not sent again"


def test_one_process_at_a_time_sends_and_another_takes_over(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c"))
    server.rounds()
    other = Server(server.site, told, "w2")
    drift(server)
    other.rounds()
    assert told.sent == []
    server.rounds()
    assert len(told.sent) == 1
    server.site.write("DELETE FROM worker WHERE id = 'w1'")
    drift(server, name="web-02")
    other.rounds()
    assert len(told.sent) == 2
    server.site.settle()
    server.rounds()
    assert len(told.sent) == 2, "who came back from a pause sends nothing"


def test_a_dead_receiver_keeps_no_other_and_is_told_when_it_is_back(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c", keys="one two"), d=channel("d", keys="three"))
    told.fail = {"json://one"}
    drift(server)
    server.rounds()
    assert len(told.bodies("json://two")) == len(told.bodies("json://three")) == 1 and told.bodies() == []
    with server.site.store.read() as connection:
        assert failing(connection) == {"fleet/alertchannel/-/c#0": (1, "json://one is dead")}
    told.fail = set()
    server.site.write("UPDATE alert_line SET retry_at = 0")
    server.rounds()
    assert len(told.sent) == 3 and len(told.bodies()) == 1
    with server.site.store.read() as connection:
        assert failing(connection) == {}


def test_a_secret_that_cannot_be_read_is_a_receiver_that_fails(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c"))
    monkeypatch.delenv("ALERT_one")
    drift(server)
    server.rounds()
    with server.site.store.read() as connection:
        ((_, (number, why)),) = failing(connection).items()
    assert number == 1 and "no key 'one'" in why


def test_a_run_that_failed_is_over_when_a_later_one_of_the_tenant_succeeds(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(
        tmp_path, database_url, told, monkeypatch, c=channel("c", "  on: [run-failed]\n"), lab=LAB, bench=host("bench-01", 50, tenant="lab")
    )
    site = server.site
    site.world.fail("memory/config/shop/web-01", Fault.PARTIAL)
    site.change(1)
    site.settle()
    server.rounds()
    (body,) = told.bodies()
    assert "run failed: tenant shop: run " in body and "memory/config/shop/web-01" in body
    site.repo.commit({"bench.yaml": host("bench-01", 50, tenant="lab", spec="  timezone: Europe/Oslo\n")})
    site.world.heal()
    with site.store.write() as connection:
        connection.run("UPDATE about SET value = '9e9' WHERE key = 'alerts_seen'")
    server.rounds()
    assert len(told.sent) == 1, "what is known stays so, though its run is long past"
    with site.store.write() as connection:
        connection.run("UPDATE about SET value = '0' WHERE key = 'alerts_seen'")
    site.settle()
    server.rounds()
    assert told.bodies()[1] == "over: run failed: tenant shop\n"


def test_a_plan_that_waits_for_approval_names_who_can_give_it(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = "apiVersion: octofleet/v1\nkind: RoleMapping\nmetadata: {name: r}\nspec:\n  bindings:\n"
    rules += '    - {role: super-admin, subjects: ["local:root", "local:ruler"]}\n    - {role: approver, subjects: ["github:ada"]}\n'
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c", tenant="shop"), rules=rules)
    site = server.site
    site.change(1)
    planned = site.plan()
    with site.store.write() as connection:
        follow(connection, "/a/repository")
        row = (APPROVAL, planned.plan.id, "it waits", 5.0)
        connection.run("UPDATE repository SET code = ?, about = ?, note = ?, at = ?", row)
    server.rounds()
    (body,) = told.bodies()
    assert f"approval wanted: plan {planned.plan.id[:12]}: it waits; who may: github:ada, local:root, local:ruler" in body
    assert f"octofleet approve {planned.plan.id[:12]}" in body
    site.settle()
    server.rounds()
    assert told.bodies()[1] == f"over: approval wanted: plan {planned.plan.id[:12]}\n"


WINDOW = """apiVersion: octofleet/v1
kind: MaintenanceWindow
metadata: {name: nights, tenant: shop}
spec: {times: [{start: "2001-01-01T00:00", duration: 1h, recurrence: FREQ=DAILY}, {start: "2001-01-01T12:00", duration: 1h, recurrence: FREQ=DAILY}]}
"""


def test_a_window_that_went_by_without_it_having_begun(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c", "  on: [window-missed]\n"))
    site = server.site
    site.repo.commit({"window.yaml": WINDOW})
    site.settle()
    site.change(1)
    run = site.begin()
    note = f"{GATE}the maintenance window shop/nights is closed; it goes on by itself"
    site.write("UPDATE step SET note = ? WHERE run = ? AND state = 'ready'", note, run)
    server.rounds()
    assert told.sent == [], "no window has gone by since the run began"
    site.write("UPDATE run SET started_at = started_at - 100000 WHERE id = ?", run)
    server.rounds()
    (body,) = told.bodies()
    assert f"window missed: run {run}, window shop/nights: the window opened and closed, and" in body
    site.write("UPDATE step SET note = '' WHERE run = ?", run)
    server.rounds()
    assert told.bodies()[1] == f"over: window missed: run {run}, window shop/nights\n"


def test_a_host_that_cannot_be_seen_is_silent_after_the_time_of_the_channel(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = "  on: [host-silent]\n  silentAfter: 1h\n"
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c", on), late=channel("late", on.replace("1h", "9d"), keys="two"))
    site = server.site
    site.world.fail("memory/*/shop/web-01*", Fault.UNKNOWN)
    look(site)
    server.rounds()
    assert [item.subject for item in server.open().values()] == ["host/shop/web-01"] and told.sent == [], "not for an hour yet"
    site.write("UPDATE alert SET since = since - 3601")
    look(site)
    server.rounds()
    (body,) = told.bodies()
    assert body.startswith("host silent: host/shop/web-01: nothing could be seen of it; next: see whether the host answers; ")
    assert told.bodies("json://two") == []
    site.world.heal()
    look(site)
    server.rounds()
    assert told.bodies()[1] == "over: host silent: host/shop/web-01\n"
    site.write("UPDATE observation SET at = at - 7200 WHERE address LIKE ?", "memory/%/shop/web-02%")
    server.rounds()
    assert "host silent: host/shop/web-02: it was not looked at" in told.bodies()[2]


def test_a_rollout_that_waits_or_was_stopped(tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c"))
    site = server.site
    site.change(1)
    run = site.begin()
    columns = "run, tenant, track, number, title, first_wave, last_wave, hosts, state, soak_s, promote, max_failures, opens_at, note"
    row = f"INSERT INTO phase ({columns}) VALUES (?, 'shop', 't', 0, 'canary', 0, 9, 1, ?, 0, ?, 0, NULL, '')"
    site.write(row, run, "held", True)
    server.rounds()
    assert "approval wanted: run" in told.bodies()[0] and f"octofleet promote {run}" in told.bodies()[0]
    site.write("UPDATE phase SET state = 'stopped', note = '1 of 1 hosts failed' WHERE run = ?", run)
    server.rounds()
    assert (
        "run failed: run" in told.bodies()[1] and "1 of 1 hosts failed" in told.bodies()[1] and "over: approval wanted" in told.bodies()[1]
    )


def test_a_channel_that_is_gone_is_forgotten(tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c"))
    drift(server)
    server.rounds()
    server.site.repo.commit({"c.yaml": None})
    server.site.settle()
    server.rounds()
    assert len(told.sent) == 1 and server.open() == {}
    assert server.site.rows("SELECT * FROM alert_entry") == server.site.rows("SELECT * FROM alert_line") == []


def rows_read(look: Callable[[Connection], Any], site: Site, monkeypatch: pytest.MonkeyPatch) -> int:
    counted = 0

    def count(what: str, number: int) -> None:
        nonlocal counted
        counted += number if what == "rows_read" else 0

    with site.store.read() as connection, monkeypatch.context() as patch:
        patch.setattr(stages, "counters", [*stages.counters, count])
        look(connection)
    return counted


def test_a_look_reads_what_is_open_and_not_the_fleet(
    tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(tmp_path, database_url, told, monkeypatch, hosts=60, c=channel("c", "  silentAfter: 1h\n"))
    notices = Notices()

    def look_once(connection: Connection) -> None:
        notices.look(connection, {}, time.time(), 3600.0)

    rows_read(look_once, server.site, monkeypatch)
    nothing = rows_read(look_once, server.site, monkeypatch)
    assert nothing <= 5, "nothing is open: whatever the number of hosts, next to nothing is read"
    drift(server)
    assert 0 < rows_read(look_once, server.site, monkeypatch) - nothing <= 3


def test_what_hears_is_what_the_manifest_says(tmp_path: Path, database_url: str, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = '  on: [run-failed]\n  tenants: [shop]\n  repeat: 4h\n  limit: {messages: 3, per: 2h}\n  templates: {title: "{{ summary }}"}\n'
    server = served(tmp_path, database_url, told, monkeypatch, c=channel("c", spec))
    with server.site.store.read() as connection:
        (found,) = alerting.channels_in_force(connection)
    assert (found.on, found.tenants, found.repeat_s, found.messages, found.per_s) == ({Event.RUN_FAILED}, {"shop"}, 14400, 3, 7200)
    assert isinstance(found, Channel) and found.group_s == 1 and found.title == "{{ summary }}" and str(found.to[0]) == "s/one"
