"""Machines that nobody knows become proposals: one branch each with a manifest that holds, a pull request where there is a forge, and bounds."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pygit2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reconciler import logs
from reconciler.applying import unfinished
from reconciler.boot.asked import asked
from reconciler.boot.discovery import LATER, OFF, OPEN_MOST, PREFIX, Discovery
from reconciler.boot.manifest import manifest
from reconciler.boot.picture import Picture
from reconciler.desired.check import Checker
from reconciler.planning import compiled
from reconciler.plugins import pull_opener
from tests.boot.site import Site, ask, script
from tests.fleets import FLEET, octofleet
from tests.peers.forges.double import TOKEN, Double, Fault
from tests.peers.forges.github import GithubDouble
from tests.peers.forges.gitlab import GitLab
from tests.store.databases import KINDS, database

UNKNOWN, BRANCH = "52:54:00:99:00:01", f"{PREFIX}52-54-00-99-00-01"
RULES = "{tenant: shop, profile: base, path: hosts/found, interface: enp1s0}"
FOUND = FLEET + f"  boot: {{discovery: {RULES}}}\n"
DISCOVER = 'unknown = "discover"'
FORGE = """
[[repositories]]
location = "file://{repo}"
forge = "hub"
project = "acme/fleet"
[[forges]]
name = "hub"
type = "{kind}"
url = "{url}"
token_file = "{token}"
poll_s = 3600
"""


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with database(request.param, tmp_path) as url:
        made = Site(tmp_path, url, DISCOVER, fleet=FOUND)
        yield made
        made.close()


@pytest.fixture(autouse=True)
def _told() -> Iterator[None]:
    logs.choose(level="info")
    yield
    logs.choose(level="warning")


def found(site: Site) -> dict[str, str]:
    """The proposals, and their commits."""
    branches = pygit2.Repository(str(site.repo.path)).branches.local
    return {name: str(branches[name].target) for name in branches if name.startswith(PREFIX)}


@contextmanager
def discovering(site: Site) -> Iterator[Discovery]:
    """Beside no server, and in no hurry to spare anybody."""
    picture = Picture(site.wiring.store)
    picture.refresh()
    with closing(site.wiring.apart()) as wiring:
        made = Discovery(wiring, picture, pull_opener(site.wiring), every_s=0.0, again_s=0.0)
        made.start()
        try:
            yield made
        finally:
            made.close()


def apply(site: Site, location: str = "") -> None:
    done = octofleet(site.path / "data", "apply", "--repo", location or str(site.repo.path), "--approve")
    assert done.code == 0, done.text
    assert not unfinished(site.wiring)


def test_an_unknown_machine_is_proposed_once_and_known_when_that_is_merged(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with site.serving():
        site.begun()
        url = f"{site.url}/boot/ipxe?mac={UNKNOWN}&uuid=4C4C4544-0042-3510-8054-B7C04F384D32&serial=5BQ8T72&asset=none&platform=efi&arch=x86_64"
        said: list[str] = []
        site.until(lambda: said.append(ask(url).text) or LATER in said[-1])
        assert said[-1].endswith("sleep 10\nexit 1\n"), "and goes on to its disk"
        site.until(lambda: BRANCH in found(site))
        made = pygit2.Repository(str(site.repo.path))[found(site)[BRANCH]].peel(pygit2.Commit)
        assert [str(one) for one in made.parent_ids] == [site.commit()]
        (changed,) = made.tree.diff_to_tree(made.parents[0].tree).deltas
        assert changed.new_file.path == "hosts/found/machine-525400990001.yaml"
        document = YAML(typ="safe").load(made.tree["hosts/found/machine-525400990001.yaml"].data)
        assert document == {
            "apiVersion": "octofleet/v1",
            "kind": "Host",
            "metadata": {"name": "machine-525400990001", "tenant": "shop"},
            "spec": {
                "profile": "base",
                "firmware": "uefi",
                "interfaces": [{"name": "enp1s0", "mac": UNKNOWN}],
                "hardware": {"uuid": "4c4c4544-0042-3510-8054-b7c04f384d32", "serial": "5bq8t72"},
            },
        }
        assert Checker()("Host", document) == []
        with closing(site.wiring.apart()) as wiring:
            repository = wiring.repository(str(site.repo.path))
            assert compiled(wiring, repository, repository.commit(str(made.id))).problems == ()
        before = found(site)
        for _ in range(3):
            assert ask(url).status == 200
        assert found(site) == before
        assert "event=boot-decision decision=discover " in capsys.readouterr().err.replace("logger=octofleet ", "")
        git = pygit2.Repository(str(site.repo.path))
        git.reset(made.id, pygit2.enums.ResetMode.HARD)
        site.settled(str(made.id))
        site.until(lambda: ask(url).text == "#!ipxe\nexit 1\n")


def test_somebody_chooses_it_in_the_menu(tmp_path: Path) -> None:
    menu = "{default: local, entries: [{name: local, boot: local}, {name: propose, boot: discover}]}"
    site = Site(tmp_path, fleet=FLEET + f"  boot:\n    discovery: {RULES}\n    menu: {menu}\n")
    try:
        with site.serving():
            site.begun()
            site.until(lambda: "item entry-propose" in script(site, UNKNOWN))
            chain = next(line for line in script(site, UNKNOWN).splitlines() if "discover=yes" in line).split()[2]
            assert found(site) == {}
            assert LATER in ask(chain.replace("http://127.0.0.1:8069", site.url)).text
            site.until(lambda: BRANCH in found(site))
            assert "item entry-propose" in script(site, UNKNOWN), "and without a choice it has its menu"
    finally:
        site.close()


def test_without_rules_nobody_is_proposed(site: Site) -> None:
    site.repo.commit({"fleet.yaml": FLEET})
    apply(site)
    with discovering(site) as discovery:
        assert discovery.asked(asked({"mac": UNKNOWN})) == OFF
    assert found(site) == {}


def test_so_many_proposals_wait_and_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = Site(tmp_path, fleet=FOUND)
    try:
        apply(site)
        machines = [asked({"mac": f"52:54:00:99:00:{number:02x}"}) for number in range(OPEN_MOST + 2)]
        with discovering(site) as discovery:
            for who in machines:
                discovery.asked(who)
            site.until(lambda: "proposals wait already" in capsys.readouterr().err)
            assert len(found(site)) == OPEN_MOST
            site.until(lambda: "is not proposed" in discovery.asked(machines[-1]))
            pygit2.Repository(str(site.repo.path)).branches.local[next(iter(found(site)))].delete()
            site.until(lambda: "is proposed as shop/" in discovery.asked(machines[-1]))
            assert len(found(site)) == OPEN_MOST
    finally:
        site.close()


def test_two_servers_propose_a_machine_once(tmp_path: Path) -> None:
    site = Site(tmp_path, fleet=FOUND)
    try:
        apply(site)
        with discovering(site) as one, discovering(site) as other:
            who = asked({"mac": UNKNOWN})
            site.until(lambda: all("is proposed as shop/" in discovery.asked(who) for discovery in (one, other)))
        assert list(found(site)) == [BRANCH]
    finally:
        site.close()


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ("{tenant: nobody, profile: base, path: hosts}", "nobody"),
        ("{tenant: shop, profile: nothing, path: hosts}", "nothing"),
    ],
)
def test_rules_that_lead_nowhere_are_told(tmp_path: Path, rules: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    site = Site(tmp_path, fleet=FLEET + f"  boot: {{discovery: {rules}}}\n")
    try:
        apply(site)
        with discovering(site) as discovery:
            site.until(lambda: "is not proposed" in discovery.asked(asked({"mac": UNKNOWN})))
        said = capsys.readouterr().err
        assert "discovery-refused" in said and why in said
        assert found(site) == {}
    finally:
        site.close()


@pytest.mark.parametrize(("kind", "double"), [("github", GithubDouble), ("gitlab", GitLab)])
def test_a_pull_request_is_opened_where_there_is_a_forge(tmp_path: Path, kind: str, double: type[Double], capsys: Any) -> None:
    with ExitStack() as stack:
        forge = stack.enter_context(double().running())
        (tmp_path / "token").write_text(TOKEN)
        settings = FORGE.format(repo=tmp_path / "repo", kind=kind, url=forge.url, token=tmp_path / "token")
        site = stack.enter_context(closing(Site(tmp_path, settings=settings, fleet=FOUND)))
        project = forge.project("acme/fleet", site.repo.path)
        apply(site, f"file://{site.repo.path}")
        with discovering(site) as discovery:
            site.until(lambda: "is proposed as shop/" in discovery.asked(asked({"mac": UNKNOWN, "serial": "5BQ8T72"})))
            (pull,) = project.pulls.values()
            assert (pull.branch, pull.base, pull.head) == (BRANCH, "main", found(site)[BRANCH])
            assert pull.title == "Add the host shop/machine-525400990001, found by network boot"
            assert "serial:5bq8t72" in pull.body
            for _ in range(3):
                discovery.asked(asked({"mac": UNKNOWN}))
            other = asked({"mac": "52:54:00:99:00:02"})
            forge.faults.append(Fault(500))
            site.until(lambda: "is proposed as shop/" in discovery.asked(other))
        assert len(project.pulls) == 1
        said = capsys.readouterr().err
        assert "discovered-pull" in said and "no pull request could be opened" in said and TOKEN not in said


TEXTS = st.text(max_size=80) | st.sampled_from(
    ["yes", "0123", "1e3", "~", "2026-01-01", "a: b", "null", "- x", "5BQ8T72", "!!python/x", "a #b"]
)


@given(said=st.fixed_dictionaries({"serial": TEXTS, "asset": TEXTS, "arch": TEXTS, "platform": TEXTS, "uuid": TEXTS}))
def test_nothing_that_a_machine_says_is_more_than_a_value(said: Mapping[str, str]) -> None:
    rules = {"tenant": "shop", "profile": "base", "path": "hosts"}
    document = YAML(typ="safe").load(StringIO(manifest(asked({**said, "mac": UNKNOWN}), rules).decode()))
    assert Checker()("Host", document) == []
    assert document["metadata"] == {"name": "machine-525400990001", "tenant": "shop"}
    assert set(document["spec"]) <= {"profile", "firmware", "interfaces", "hardware"}
    for key, field in (("serial", "serial"), ("asset", "assetTag")):
        assert document["spec"].get("hardware", {}).get(field) in (None, said[key].strip().lower())
