"""What the index remembers may not be there any more, or be something else: histories that are rewritten, databases that are older or others, other
places for the same repository, and everything that a path can become."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.errors import OctofleetError
from reconciler.planning import Planned, make_plan
from reconciler.source.working_copy import WorkingCopy
from reconciler.types.request import Request
from tests.cli.command import quick
from tests.desired.test_incremental import ANSIBLE, PLAY, SET
from tests.fleets import FLEET, NETWORK, PROFILE, ROLE, TENANT, Repo, host
from tests.planning.histories import EXECUTABLE, LINK, MODULE, File, History, Site, said

NANO = "  packages: [nano]\n"
HOST = host("web-01", 1)
BEGUN: dict[str, File] = {
    "fleet.yaml": FLEET,
    "tenant.yaml": TENANT,
    "net.yaml": NETWORK,
    "profile.yaml": PROFILE,
    "role.yaml": ANSIBLE,
    "ansible/site.yaml": PLAY,
    "hosts/one.yaml": HOST,
    "hosts/two.yaml": host("web-02", 2),
    "hosts/three.yaml": host("web-03", 3, spec="  templates: {ipxe: t/one.j2}\n"),
    "t/one.j2": "one",
    "set.yaml": SET.replace("COUNT", "2").replace("FIRST", "20"),
}
NO_TEXT = [os.fsdecode(b"a\xff.yaml"), os.fsdecode(b"a\xfe.yaml")]
HISTORY = Request(accept_history=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Everything is applied."""
    made = Site(history=History(tmp_path / "git", BEGUN), data=tmp_path / "data")
    made.apply(Request())
    assert not made.plan(Request()).plan.changes
    yield made
    made.restart()


def groups(site: Site, request: Request = HISTORY) -> set[str]:
    """What changes, whether or not there is an index."""
    told = site.agrees(request)
    assert isinstance(told, dict), told
    return {str(where.split("/", 2)[2]) for where in told["changes"]} | {item.split("group='")[1][:-2] for item in told["deferred"]}


SWAPS: dict[str, tuple[dict[str, File], dict[str, File]]] = {
    "a file becomes a link": ({"hosts/one.yaml": (LINK, "two.yaml")}, {"hosts/one.yaml": HOST}),
    "a file becomes executable": ({"hosts/one.yaml": (EXECUTABLE, HOST)}, {"hosts/one.yaml": host("web-01", 1, spec=NANO)}),
    "a file becomes a directory": (
        {"hosts/one.yaml": None, "hosts/one.yaml/a.yaml": HOST},
        {"hosts/one.yaml/a.yaml": None, "hosts/one.yaml": HOST},
    ),
    "a directory becomes a file": (
        {"hosts/one.yaml": None, "hosts/two.yaml": None, "hosts/three.yaml": None, "hosts": "x"},
        {"hosts": None, "hosts/one.yaml": HOST},
    ),
    "a file becomes a submodule": ({"hosts/one.yaml": (MODULE, "1" * 40)}, {"hosts/one.yaml": (MODULE, "2" * 40)}),
    "a file loses its suffix": ({"hosts/one.yaml": None, "hosts/one.txt": HOST}, {"hosts/one.txt": None, "hosts/one.yml": HOST}),
    "a file moves": ({"hosts/one.yaml": None, "z/one.yaml": HOST}, {"z/one.yaml": None, "a.yaml": "# first\n" + HOST}),
    "a file is hidden": ({"hosts/one.yaml": None, ".hosts/one.yaml": HOST}, {".hosts/one.yaml": None, "hosts/one.yaml": HOST}),
    "a name that is no UTF-8": ({NO_TEXT[0]: HOST, NO_TEXT[1]: PLAY}, {NO_TEXT[0]: None}),
    "hosts share a file": ({"hosts/one.yaml": HOST + "---\n" + host("web-04", 4)}, {"hosts/one.yaml": host("web-04", 4) + "---\n" + HOST}),
    "a host is declared twice": ({"hosts/more.yaml": HOST}, {"hosts/one.yaml": None}),
    "a host moves": (
        {"hosts/one.yaml": host("new-01", 1, metadata="  moved: {from: web-01}\n")},
        {"hosts/one.yaml": host("web-01", 1, metadata="  moved: {from: new-01}\n")},
    ),
    "two hosts come from one": (
        {
            "hosts/one.yaml": host("new-01", 1, metadata="  moved: {from: web-01}\n"),
            "hosts/more.yaml": host("new-02", 5, metadata="  moved: {from: web-01}\n"),
        },
        {"hosts/more.yaml": None},
    ),
    "two hosts swap addresses": ({"hosts/one.yaml": host("web-01", 2), "hosts/two.yaml": host("web-02", 1)}, {"hosts/one.yaml": HOST}),
    "a HostSet grows": (
        {"set.yaml": SET.replace("COUNT", "4").replace("FIRST", "20")},
        {"set.yaml": SET.replace("COUNT", "1").replace("FIRST", "20")},
    ),
    "a HostSet runs out of addresses": (
        {"set.yaml": SET.replace("COUNT", "2").replace("192.0.2.FIRST", "255.255.255.255")},
        {"set.yaml": None},
    ),
    "a HostSet becomes hosts": (
        {"set.yaml": host("worker-1", 20)},
        {"set.yaml": None, "hosts/set.yaml": SET.replace("COUNT", "2").replace("FIRST", "20")},
    ),
    "a template changes": ({"t/one.j2": "two"}, {"t/one.j2": None}),
    "a template becomes a directory": ({"t/one.j2": None, "t/one.j2/x": "two"}, {"t/one.j2/x": None, "t/one.j2": "one"}),
    "a template becomes executable": ({"t/one.j2": (EXECUTABLE, "one")}, {"t/one.j2": (LINK, "one")}),
    "a playbook changes": ({"ansible/site.yaml": PLAY + "# more\n"}, {"ansible/site.yaml": None}),
    "a submodule in a project moves": ({"ansible/roles": (MODULE, "1" * 40)}, {"ansible/roles": (MODULE, "2" * 40)}),
    "a file of a project that is no YAML changes": ({"ansible/files/motd": "hello"}, {"ansible/files/motd": (EXECUTABLE, "hello")}),
    "a project moves over hosts": ({"role.yaml": ANSIBLE.replace("ansible/", "hosts/"), "hosts/site.yaml": PLAY}, {"role.yaml": ROLE}),
    "a project is named no more": ({"role.yaml": ROLE, "ansible/site.yaml": host("web-09", 9)}, {"role.yaml": ANSIBLE}),
    "the ignore file comes and goes": ({".octofleetignore": "hosts/two.yaml\n"}, {".octofleetignore": None}),
    "the ignore file comes with a removal": ({".octofleetignore": "x\n", "hosts/one.yaml": None}, {".octofleetignore": None}),
    "the ignore file comes with a submodule": (
        {".octofleetignore": "x\n", "ansible/roles": (MODULE, "1" * 40), "hosts/one.yaml": None},
        {".octofleetignore": None, "ansible/roles": (MODULE, "2" * 40)},
    ),
    "the Fleet is renamed": ({"fleet.yaml": FLEET.replace("test", "other")}, {"fleet.yaml": FLEET}),
    "the Fleet is renamed and loses hosts": (
        {"fleet.yaml": FLEET.replace("test", "other"), "hosts/one.yaml": None},
        {"fleet.yaml": FLEET, "hosts/two.yaml": None},
    ),
    "two Fleets": ({"more.yaml": FLEET.replace("test", "other")}, {"more.yaml": None, "hosts/one.yaml": None}),
    "the Fleet's guards alone": ({"fleet.yaml": FLEET + "  guards: {maxDeletePercent: 100}\n"}, {"fleet.yaml": FLEET}),
    "a tenant's name alone": ({"tenant.yaml": TENANT + "  displayName: The shop\n"}, {"tenant.yaml": TENANT}),
    "a tenant comes and goes": ({"lab.yaml": TENANT.replace("shop", "lab")}, {"lab.yaml": None}),
    "a tenant goes under its hosts": ({"tenant.yaml": None}, {"tenant.yaml": TENANT}),
    "a tenant is broken": ({"tenant.yaml": TENANT + "  bogus: 1\n"}, {"tenant.yaml": TENANT}),
    "a file is no YAML": ({"hosts/one.yaml": "a: [1\n"}, {"hosts/one.yaml": HOST}),
    "a profile goes": ({"profile.yaml": None}, {"profile.yaml": PROFILE}),
    "a tenant has its own profile": (
        {"own.yaml": PROFILE.replace("{name: base}", "{name: base, tenant: shop}").replace("vim", "nano")},
        {"own.yaml": None},
    ),
    "a network shrinks": ({"net.yaml": NETWORK.replace("192.0.2.0/24", "192.0.2.0/28")}, {"net.yaml": NETWORK}),
}


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("applied", [True, False])
def test_whatever_a_path_becomes(site: Site, swap: str, applied: bool) -> None:
    """There and onward and back to the beginning; each time applied or not."""
    back: dict[str, File] = {path: BEGUN.get(path) for edits in SWAPS[swap] for path in edits}
    for edits in (*SWAPS[swap], back):
        site.history.commit(edits)
        site.agrees(HISTORY)
        if applied:
            try_apply(site)
            site.agrees(HISTORY)
    site.agrees(Request(refresh=True, accept_history=True))


def try_apply(site: Site) -> None:
    """What can be applied is: two Fleets cannot, nor what a guard refuses."""
    with suppress(OctofleetError):
        site.apply(HISTORY)


def test_a_compiled_tree_that_is_gone_from_the_repository(site: Site) -> None:
    site.history.commit({"hosts/one.yaml": host("web-01", 1, spec=NANO)})
    site.apply(Request())
    site.history.commit({"hosts/two.yaml": None}, parent=None)
    subprocess.run(["git", "-C", str(site.history.path), "-c", "gc.pruneExpire=now", "gc", "-q", "--prune=now"], check=True)
    site.restart()
    assert "does not come after it" in str(site.agrees(Request()))
    assert groups(site) == {"shop/web-02", "shop/web-02.web"}
    site.apply(HISTORY)
    assert groups(site) == set()


def test_a_working_copy_is_planned_first_and_then_a_commit(tmp_path: Path) -> None:
    """The tree that the index compiled is in no repository of the user."""
    path = tmp_path / "git"
    git = Repo(path=path)
    path.mkdir()
    git.commit({name: text for name, text in BEGUN.items() if isinstance(text, str)})
    site = Site(history=History(tmp_path / "unused", {}), data=tmp_path / "data")
    (path / "hosts/one.yaml").write_text(host("web-01", 1, spec=NANO))
    site.history.path = path
    copy = WorkingCopy(str(path), site.data / "working-copies")
    try:
        seen = said(make_plan(site.installation, copy.repository, Request(), commit=copy.commit()))
        assert seen["changes"]
        wanted = site.agrees(Request())
        assert wanted["changes"].keys() == seen["changes"].keys() and wanted["changes"] != seen["changes"]
        site.apply(Request())
        assert groups(site) == set()
        for text in (HOST, host("web-01", 1, spec=NANO + "  timezone: Asia/Tokyo\n"), HOST):
            (path / "hosts/one.yaml").write_text(text)
            made: Planned = make_plan(site.installation, copy.repository, Request(), commit=copy.commit())
            assert bool(made.plan.changes) == (text != HOST)
            assert groups(site) == set()
    finally:
        site.restart()


def forget(site: Site, group: str) -> None:
    assert quick(site.data, "forget", group, "--reason", "a test").code == 0


def database(site: Site, into: Path) -> None:
    """A copy of the database, as a backup makes it while nobody works."""
    site.restart()
    for file in site.data.glob("octofleet.db*"):
        shutil.copy(file, into)


def restore(site: Site, backup: Path) -> None:
    site.restart()
    for file in site.data.glob("octofleet.db*"):
        file.unlink()
    for file in backup.iterdir():
        shutil.copy(file, site.data)


def test_a_database_that_is_restored_to_an_older_state(site: Site, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    database(site, backup)
    site.history.commit({"hosts/one.yaml": host("web-01", 1, spec=NANO)})
    site.apply(Request())
    forget(site, "host/shop/web-02")
    assert groups(site) == {"shop/web-02", "shop/web-02.web"}
    restore(site, backup)
    assert groups(site) == {"shop/web-01"}


@pytest.mark.parametrize("lost", ["a run", "a forgotten record"])
def test_a_restored_database_that_went_on_without_a_plan(site: Site, tmp_path: Path, lost: str) -> None:
    """The number of the last change is as high as before, and means another change."""
    backup = tmp_path / "backup"
    backup.mkdir()
    database(site, backup)
    if lost == "a run":
        site.history.commit({"hosts/one.yaml": host("web-01", 1, spec=NANO)})
        site.apply(Request())
        site.history.commit({"hosts/one.yaml": host("web-01", 1, spec=NANO + "  timezone: Asia/Tokyo\n")})
        site.apply(Request())
    else:
        forget(site, "host/shop/web-01")
    groups(site)
    restore(site, backup)
    for name in ("web-02", "web-03", "worker-1", "worker-2"):
        forget(site, f"host/shop/{name}")
    told = groups(site)
    assert ("shop/web-01" in told) == (lost == "a run"), told


def test_a_database_of_another_installation(site: Site, tmp_path: Path) -> None:
    other = Site(history=site.history, data=tmp_path / "other")
    site.history.commit({"hosts/one.yaml": None, "t/one.j2": "two"})
    other.apply(Request())
    other.restart()
    backup = tmp_path / "backup"
    backup.mkdir()
    database(other, backup)
    restore(site, backup)
    groups(site)
    site.history.commit({"hosts/two.yaml": None})
    groups(site)


def test_two_repositories_and_one_data_directory(site: Site, tmp_path: Path) -> None:
    second = Site(history=History(tmp_path / "second", BEGUN | {"fleet.yaml": FLEET.replace("test", "other")}), data=site.data)
    second.opened.append(site.installation)
    for edits in ({"hosts/one.yaml": None}, {"t/one.j2": "two"}, {"fleet.yaml": FLEET}):
        second.history.commit(edits)
        site.history.commit(edits)
        for made in (second, site, second):
            made.agrees(HISTORY)
        try_apply(site)
        for made in (second, site):
            made.agrees(HISTORY)


def test_a_clone_at_another_place(site: Site, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--bare", str(site.history.path), str(clone)], check=True)
    site.history.commit({"hosts/one.yaml": host("web-01", 1, spec=NANO)})
    site.apply(Request())
    second = Site(history=site.history, data=site.data, opened=[site.installation])
    second.history = History.__new__(History)
    second.history.path = clone
    assert "does not come after it" in str(second.agrees(Request()))
    assert second.agrees(HISTORY)["changes"]
    subprocess.run(["git", "-C", str(clone), "fetch", "-q", str(site.history.path), "+main:main"], check=True)
    second.restart()
    assert not second.agrees(Request())["changes"]


def test_an_old_commit_and_a_rewritten_history(site: Site) -> None:
    first = site.history.head()
    site.history.commit({"hosts/one.yaml": None, ".octofleetignore": "x\n"})
    site.history.commit({"t/one.j2": "two"})
    site.apply(Request())
    assert site.agrees(Request(rev=first))["changes"]
    site.apply(Request(rev=first))
    assert not site.agrees(Request(rev=first))["changes"]
    assert site.agrees(Request())["changes"]
    site.history.commit({"hosts/two.yaml": None}, parent=None)
    assert "does not come after it" in str(site.agrees(Request()))
    assert site.agrees(HISTORY)["changes"]
    site.apply(HISTORY)
    assert not site.agrees(HISTORY)["changes"]


def test_a_secret_that_cannot_be_read_and_can_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_SECRET_DB", "one")
    site.history.commit({"hosts/one.yaml": host("web-01", 1, spec="  vars: {p: {secretRef: {store: env, key: DB}}}\n")})
    site.apply(Request())
    assert groups(site) == set()
    for value in (None, "one", "two", None, "two"):
        site.restart()
        if value is None:
            monkeypatch.delenv("SITE_SECRET_DB")
        else:
            monkeypatch.setenv("SITE_SECRET_DB", value)
        told = site.agrees(Request())
        assert bool(told["deferred"]) == (value is None) and bool(told["changes"]) == (value == "two")
        site.history.commit({"t/one.j2": f"{value}"})
        site.agrees(Request())
        site.history.commit({"t/one.j2": "one"})
