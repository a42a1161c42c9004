"""Scheduled operations in `octofleet serve`: begun once for each time that they are due, waiting for people, missed; on both databases."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.applying import resume, unfinished
from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.events import listeners
from reconciler.loop import Loop
from reconciler.scheduling import standing
from reconciler.settings import Followed as Rules
from reconciler.settings import Settings
from reconciler.store.occurrences import Occurrence
from reconciler.store.runs import list_runs
from reconciler.working import worker
from tests.drivers.ansible_world import need_ansible
from tests.fleets import FLEET, Chosen, installation
from tests.operating.place import OPERATION, Place
from tests.store.databases import KINDS, database

HOUR = 3600.0


def due(ago_s: float, duration: str = "1h") -> str:
    """An Operation that was due some seconds ago, daily."""
    start = datetime.now(UTC) - timedelta(seconds=ago_s)
    return OPERATION.format(more=f'  times: [{{start: "{start:%Y-%m-%dT%H:%M}", duration: {duration}, recurrence: FREQ=DAILY}}]\n')


class Site:
    """A place with a loop that follows it."""

    def __init__(self, path: Path, url: str, *, apply: bool = True, **files: str) -> None:
        need_ansible()
        self.place = Place(path, hosts=2, env={"OCTOFLEET_DATABASE_URL": url}, **files)
        made = installation(self.place.data, AnsibleDriver(AnsibleSettings(isolation="off")))
        self.installation: Chosen = replace(made, settings=Settings(database_url=url))
        self.rules = Rules(location=str(self.place.repo.path), poll_s=0.2, interval_s=3600, apply=apply)

    def round(self) -> None:
        with self.installation.store.write() as connection:
            connection.run("UPDATE repository SET due_at = 0")
        with worker(self.installation, "serve") as one:
            one.beat()
            Loop(self.installation, [self.rules], one.id, lambda: None).once()

    def work(self) -> None:
        for run in unfinished(self.installation):
            resume(self.installation, run.id)

    def last(self) -> Occurrence | None:
        with self.installation.store.read() as connection:
            (found,) = standing(connection)
        return found.last

    def open(self) -> list[float | None]:
        with self.installation.store.read() as connection:
            return [found.next_at for found in standing(connection)]

    def runs(self) -> list[str]:
        with self.installation.store.read() as connection:
            return [run.reason for run in list_runs(connection)]


@pytest.fixture(params=KINDS)
def url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    with database(request.param, tmp_path) as found:
        yield found


def test_what_is_due_runs_once(tmp_path: Path, url: str) -> None:
    site = Site(tmp_path, url, operation=due(600))
    site.round()
    assert not standing_known(site), "what is not applied is not in force"
    site.work()
    site.round()
    site.work()
    assert site.place.done() == ["web-01 web-01 patched", "web-02 web-02 patched"]
    found = site.last()
    assert found is not None and found.state == "begun" and found.run
    site.round()
    site.work()
    assert site.place.counts() == {"web-01": 1, "web-02": 1}
    assert [reason for reason in site.runs() if reason.startswith("patch, due ")] == [site.runs()[0]]


def standing_known(site: Site) -> bool:
    with site.installation.store.read() as connection:
        return bool(standing(connection))


def test_a_crash_after_the_run_began_does_not_begin_it_twice(tmp_path: Path, url: str) -> None:
    site = Site(tmp_path, url, operation=due(600))
    site.round()
    site.work()
    site.round()
    with site.installation.store.write() as connection:
        connection.run("UPDATE occurrence SET state = 'waiting', run = ''")
    site.round()
    site.work()
    site.round()
    assert site.place.counts() == {"web-01": 1, "web-02": 1}
    found = site.last()
    assert found is not None and found.state == "begun"


def test_what_needs_an_approval_waits_and_is_missed(tmp_path: Path, url: str) -> None:
    fleet = FLEET + "  approvals: [{name: reboots, risks: [reboot]}]\n"
    site = Site(tmp_path, url, fleet=fleet, operation=due(600) + "  risks: [reboot]\n")
    site.round()
    site.work()
    heard = []
    listeners.append(lambda name, data: heard.append(name))
    try:
        site.round()
        site.round()
        found = site.last()
        assert found is not None and found.state == "waiting" and "approve" in found.note, found
        assert heard.count("operation-waits") == 1
        with site.installation.store.write() as connection:
            connection.run("UPDATE occurrence SET due_at = due_at - 86400")  # its time is over
        site.round()
    finally:
        listeners.pop()
    assert heard.count("operation-missed") == 1
    assert site.place.counts() == {}


def test_with_an_approval_it_runs(tmp_path: Path, url: str) -> None:
    fleet = FLEET + "  approvals: [{name: reboots, risks: [reboot]}]\n"
    site = Site(tmp_path, url, fleet=fleet, operation=due(600) + "  risks: [reboot]\n")
    site.round()
    site.work()
    site.round()
    found = site.last()
    assert found is not None
    approved = site.place.command("approve", found.plan[:12], "--reason", "tonight")
    assert approved.code == 0, approved.text
    site.round()
    site.work()
    assert site.place.counts() == {"web-01": 1, "web-02": 1}


def test_a_server_that_only_reports_runs_nothing(tmp_path: Path) -> None:
    with database("sqlite", tmp_path) as url:
        site = Site(tmp_path, url, apply=False, operation=due(600))
        site.place.applied()
        (since,) = site.open()
        assert since is not None and since < time.time(), "it is due now, and not tomorrow"
        site.round()
        site.round()
        (next_at,) = site.open()
        assert next_at is not None and next_at > time.time()
        found = site.last()
        assert found is not None and found.state == "reported" and "octofleet apply" in found.note
        site.work()
        assert site.place.counts() == {}


def test_what_is_not_due_yet_is_told_and_not_run(tmp_path: Path) -> None:
    with database("sqlite", tmp_path) as url:
        site = Site(tmp_path, url, operation=due(-HOUR))
        site.place.applied()
        site.round()
        assert site.last() is None
        assert "due " in site.place.command("operations").out
        assert site.place.counts() == {}


def test_a_commit_and_an_operation_do_not_meet_on_a_host(tmp_path: Path, url: str) -> None:
    """The loop goes on with commits beside an operation; what both would change waits."""
    site = Site(tmp_path, url, operation=due(600))
    site.round()
    site.work()
    site.round()  # the operation is begun, and nobody works on it
    profile = (site.place.repo.path / "profile.yaml").read_text()
    site.place.repo.commit({"profile.yaml": profile.replace("packages: [vim]", "packages: [vim, htop]")})
    site.round()
    (only,) = unfinished(site.installation)
    assert only.reason.startswith("patch, due ")
    site.work()
    site.round()
    site.work()
    assert site.place.command("plan").code == 0
    assert site.place.counts() == {"web-01": 1, "web-02": 1}
