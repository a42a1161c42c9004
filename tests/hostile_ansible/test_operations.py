"""Scheduled operations against two servers at once, crashes between any two writes, and clocks and manifests that change meanwhile."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler import scheduling
from reconciler.drivers.ansible.driver import AnsibleDriver, AnsibleSettings
from reconciler.drivers.driver import Context, Step
from reconciler.gate.windows import spans_on
from reconciler.scheduling import begin_due, sources_at
from reconciler.settings import Settings
from reconciler.store.occurrences import Occurrence, note
from reconciler.types.observation import Present
from reconciler.types.outcome import Outcome, Pending, Status
from tests.fleets import installation
from tests.operating.test_schedule import Site, due
from tests.store.databases import KINDS, database


@pytest.fixture(params=KINDS)
def url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    with database(request.param, tmp_path) as found:
        yield found


class Quick(AnsibleDriver):
    """Runs nothing, and keeps for which hosts it would have."""

    def __init__(self, done: list[str]) -> None:
        super().__init__(AnsibleSettings())
        object.__setattr__(self, "done", done)

    def apply(self, step: Step, context: Context) -> dict[str, Outcome | Pending]:
        self.done.extend(work.target.address.rpartition("/")[2].partition(".")[0] for work in step.work)
        return {
            work.target.address: Outcome(status=Status.DONE, observation=Present(spec={}, digest="done", at=time.time()))
            for work in step.work
        }


class Served(Site):
    """`done`: the hosts that operations were done to, each once for each time."""

    def __init__(self, path: Path, url: str, **files: str) -> None:
        super().__init__(path, url, **files)
        self.done: list[str] = []
        self.installation = replace(installation(self.place.data, Quick(self.done)), settings=Settings(database_url=url))


def applied(path: Path, url: str) -> Served:
    """With an operation in force that is due and was not begun."""
    site = Served(path, url, operation=due(600) + "  check: false\n")
    site.round()
    site.work()
    assert not site.done and site.last() is None
    return site


def begun(site: Site) -> list[str]:
    location = site.rules.location
    with site.installation.store.read() as connection:
        sources = sources_at(connection, location)
    return begin_due(site.installation, location, sources, apply=True)


def operations(site: Site) -> list[str]:
    return [reason for reason in site.runs() if reason.startswith("patch, due ")]


class Killed(BaseException):
    """The process ends here."""


def test_killed_at_any_write_it_begins_once(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time it comes one write further."""
    site = applied(tmp_path, url)
    left = 0

    def dying(connection: Any, found: Occurrence, was: str | None = None) -> bool:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return note(connection, found, was)

    monkeypatch.setattr(scheduling, "note", dying)
    for number in range(4):
        left = number
        with suppress(Killed):
            begun(site)
        site.work()
    assert len(operations(site)) == 1 and site.done == ["web-01", "web-02"]
    found = site.last()
    assert found is not None and found.state == "begun" and found.run


@pytest.mark.parametrize(("step", "after"), [("plan_operation", False), ("plan_operation", True), ("begin", False), ("begin", True)])
def test_two_servers_that_both_believe_they_look_begin_it_once(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool
) -> None:
    """One was stopped before or after a step, for so long that its lease went to the other, which did all there is to do; then it goes on where it was."""
    site = applied(tmp_path, url)
    go_on, stopped = getattr(scheduling, step), False

    def stops(*args: Any, **more: Any) -> Any:
        nonlocal stopped
        made = go_on(*args, **more) if after else None
        if not stopped:
            stopped = True
            begun(site)
            site.work()
        return made if after else go_on(*args, **more)

    monkeypatch.setattr(scheduling, step, stops)
    begun(site)
    site.work()
    monkeypatch.undo()
    begun(site)
    site.work()
    found = site.last()
    assert stopped and len(operations(site)) == 1 and site.done == ["web-01", "web-02"]
    assert found is not None and found.state == "begun" and found.run


def test_clocks_that_step_back_and_forth_begin_it_once(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site = applied(tmp_path, url)
    begun(site)
    site.work()
    (first,) = operations(site)
    for off_s in (-900.0, 0.0, 7200.0, 0.0, -900.0, 0.0):
        monkeypatch.setattr(scheduling, "spans_on", lambda times, now, off_s=off_s: spans_on(times, now + off_s))
        begun(site)
        site.work()
    assert operations(site) == [first]


def test_an_operation_that_is_gone_and_comes_back_is_no_other_time(tmp_path: Path, url: str) -> None:
    site = applied(tmp_path, url)
    text = (site.place.repo.path / "operation.yaml").read_text()
    begun(site)
    site.work()
    for files in ({"operation.yaml": None}, {"operation.yaml": text}):
        site.place.repo.commit(files)
        site.round()
        site.work()
        begun(site)
        site.work()
    assert len(operations(site)) == 1


def test_what_waits_when_its_manifest_goes_waits_no_longer(tmp_path: Path, url: str) -> None:
    site = applied(tmp_path, url)
    with site.installation.store.write() as connection:
        wait = Occurrence(
            source=sources_at(connection, site.rules.location)[0], operation="shop/patch", due_at=time.time() - 600, state="waiting", at=0.0
        )
        note(connection, replace(wait, note="waits"))
    site.place.repo.commit({"operation.yaml": None})
    site.round()
    site.work()
    begun(site)
    with site.installation.store.read() as connection:
        assert connection.scalar("SELECT count(*) FROM occurrence WHERE state = 'waiting'") == 0
