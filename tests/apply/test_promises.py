"""Promises that only show over several plans: superseded ones, what was begun and given up, what lives on a replaced machine, healing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.applying import apply_plan, cancel
from reconciler.drivers.driver import Context, Results
from reconciler.drivers.memory import Fault, MemoryDriver, World
from reconciler.drivers.wrap import Wrapped
from reconciler.errors import OctofleetError, Refused, RetryLater
from reconciler.planning import make_plan
from reconciler.types.canonical import digest
from reconciler.types.change import Action, Cause
from reconciler.types.outcome import Status
from reconciler.types.request import Request
from reconciler.types.values import Secret, SecretRef, SecretValue
from tests.apply.runs import Bench
from tests.cli.command import quick
from tests.drivers.contract import host
from tests.fleets import Repo, fleet, installation, repo
from tests.fleets import host as manifest

MACHINE, CONFIG, ROLE = "memory/machine/shop/web-01", "memory/config/shop/web-01", "memory/role/shop/web-01.web"
BERLIN = "  timezone: Europe/Berlin\n"


@dataclass(frozen=True)
class Site:
    """A repository, an installation and its simulated world."""

    path: Path
    git: Repo
    data: Path

    def plan(self, *args: str) -> str:
        """Plan; the id."""
        made = quick(self.data, "plan", "--repo", str(self.git.path), "--json", *args)
        return str(made.json["id"])

    def apply(self, *args: str) -> int:
        return quick(self.data, "apply", *args, "--approve").code

    def all(self) -> int:
        return self.apply("--repo", str(self.git.path))

    @property
    def world(self) -> World:
        return World(str(self.data / "memory.db"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(path=tmp_path, git=repo(tmp_path / "git"), data=tmp_path / "data")
    assert made.all() == 0
    return made


def test_a_plan_from_before_another_apply_is_superseded(site: Site) -> None:
    site.git.commit({"host-1.yaml": None})
    removal = site.plan()
    site.git.commit({"host-1.yaml": manifest("web-01", 1, spec="  protect: true\n")})
    assert site.all() == 0
    refused = quick(site.data, "apply", removal, "--approve")
    assert refused.code == 1
    assert "superseded" in refused.err
    assert MACHINE in site.world.things()


def test_a_plan_is_applied_once(site: Site) -> None:
    site.git.commit({"host-1.yaml": manifest("web-01", 1, spec=BERLIN)})
    made = site.plan()
    assert site.apply(made) == 0
    assert "superseded" in quick(site.data, "apply", made, "--approve").err


def test_two_fleets_planned_at_once_do_not_share_a_resource(tmp_path: Path) -> None:
    data, plans = tmp_path / "data", []
    for name in ("one", "two"):
        git = repo(tmp_path / name, fleet() | {"fleet.yaml": fleet()["fleet.yaml"].replace("name: test", f"name: {name}")})
        plans.append(quick(data, "plan", "--repo", str(git.path), "--json").json["id"])
    assert quick(data, "apply", plans[0], "--approve").code == 0
    second = quick(data, "apply", plans[1], "--approve")
    assert second.code == 1
    assert "superseded" in second.err


def test_a_run_given_up_leaves_nothing_that_a_plan_does_not_look_at(site: Site) -> None:
    before = site.world.things()
    site.git.commit({"host-1.yaml": manifest("web-01", 1, spec=BERLIN)})
    open_site = installation(site.data, MemoryDriver(world=site.world))
    repository = open_site.repository(str(site.git.path))
    row = make_plan(open_site, repository, Request()).row

    def stop_when_done() -> bool:
        return site.world.things() != before

    left = apply_plan(open_site, row, approved=True, cancelled=stop_when_done)
    if not left.complete:
        cancel(open_site, left.run, "given up")
    site.git.commit({"host-1.yaml": fleet()["host-1.yaml"]})
    assert site.all() == 0
    assert site.world.things() == before


def test_what_lives_on_a_machine_that_was_replaced_alone_is_made_again(site: Site) -> None:
    site.git.commit({"profile.yaml": fleet()["profile.yaml"].replace('version: "12"', 'version: "13"')})
    made = site.plan("--scope", "memory/machine/*/web-01")
    assert site.apply(made) == 0
    assert CONFIG not in site.world.things()
    assert site.all() == 0
    assert {MACHINE, CONFIG, ROLE} <= site.world.things().keys()


def test_what_is_half_made_belongs_to_its_source(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.world.fail(MACHINE, Fault.PARTIAL)
    bench.apply(bench.plan(host("web-01")))
    bench.world.heal()
    (gone,) = bench.plan(gone=[MACHINE]).changes
    assert gone.action is Action.DELETE


def test_something_else_of_the_same_name_is_not_replaced(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.world.put(MACHINE, {"values": {"os": {"distribution": "somebody else's"}}})
    plan = bench.plan(host("web-01", os={"distribution": "debian", "version": "12"}))
    assert MACHINE in {item.address for item in plan.deferred if item.code == "not-ours"}
    assert not any(change.address == MACHINE for change in plan.changes)


def test_healing_does_not_roll_back_what_was_applied_in_part(site: Site) -> None:
    site.git.commit({"host-1.yaml": manifest("web-01", 1, spec="  packages: [nano]\n")})
    assert site.apply(site.plan("--scope", "host/shop/web-01")) == 0
    spec, _ = site.world.things()[CONFIG]
    site.world.put(CONFIG, {"values": {**spec["values"], "timezone": "Europe/Rome"}})
    healed = quick(site.data, "drift", "--heal", "--approve")
    assert healed.code == 3
    assert "other-causes" in healed.out
    assert "nano" in site.world.things()[CONFIG][0]["values"]["packages"]


def test_a_base_does_not_open_a_way_around_the_history(site: Site, tmp_path: Path) -> None:
    other = repo(tmp_path / "other", fleet(1))
    made = quick(site.data, "plan", "--repo", str(other.path), "--base", "main", "--json")
    assert made.code == 3
    assert [guard["guard"] for guard in made.json["guards"] if guard["guard"] == "history"]
    assert quick(site.data, "apply", made.json["id"], "--approve").code == 3


def test_two_manifests_cannot_come_from_one(site: Site) -> None:
    moved = "  moved: {from: web-01}\n"
    site.git.commit({"host-1.yaml": manifest("a-01", 1, metadata=moved), "host-9.yaml": manifest("b-01", 9, metadata=moved)})
    made = quick(site.data, "plan", "--repo", str(site.git.path))
    assert made.code == 1
    assert "host-9.yaml:6:11: host/shop/web-01 became host/shop/a-01 already" in made.out


def test_a_tampered_plan_is_not_applied(site: Site) -> None:
    import sqlite3

    site.git.commit({"host-1.yaml": manifest("web-01", 1, spec=BERLIN)})
    made = site.plan()
    with sqlite3.connect(site.data / "octofleet.db") as database:
        database.execute("update change set body = replace(body, 'web-01', 'web-02')")
    said = quick(site.data, "apply", made, "--approve")
    assert said.code == 1
    assert "changed or damaged" in said.err


@dataclass(frozen=True, kw_only=True)
class Unsteady(MemoryDriver):
    """Polls fail for a while, as when a network is away."""

    failures: list[int]

    def poll(self, operation: str, context: Context) -> Results:
        if self.failures:
            self.failures.pop()
            raise RetryLater("the network is away", after_s=0.01)
        return super().poll(operation, context)


def test_an_operation_that_cannot_be_asked_about_is_still_going_on(tmp_path: Path) -> None:
    world = World(str(tmp_path / "w.db"))
    bench = Bench(tmp_path, driver=Unsteady(world=world, operation_s=0.02, failures=[1, 2, 3]))
    assert set(bench.apply(bench.plan(host("web-01"))).values()) == {Status.DONE}
    assert [effect for effect in world.effects() if effect[2] == MACHINE] == [("run-1.0", "create", MACHINE)]


class Leaky(MemoryDriver):
    """Says a secret in an error of its own."""

    def observe(self, targets: Sequence[Any], context: Context) -> Mapping[str, Any]:
        value = context.secret(SecretRef(store="s", key="k"), "shop").reveal()
        raise ValueError(f"bad argument {value}")


def test_no_error_of_a_driver_tells_a_secret(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    wrapped = Wrapped(driver=Leaky(world=bench.world))
    context = replace(bench.context(), secret=lambda ref, tenant: SecretValue("hunter2hunter2"))
    with pytest.raises(OctofleetError) as caught:
        wrapped.observe([], context)
    assert "hunter2" not in str(caught.value)
    assert "ValueError: bad argument ***" in caught.value.message


def test_a_rotated_secret_is_a_change_because_of_an_input(tmp_path: Path) -> None:
    git = repo(
        tmp_path / "git",
        fleet(1)
        | {
            "role.yaml": "apiVersion: octofleet/v1\nkind: Role\nmetadata: {name: web}\nspec:\n  vars:\n    token: {secretRef: {store: s, key: k}}\n"
        },
    )
    secrets, config = tmp_path / "secrets", tmp_path / "octofleet.toml"
    secrets.mkdir()
    config.write_text(f'[secrets.stores.s]\ntype = "directory"\npath = "{secrets}"\ntenants = ["shop"]\n')
    data = tmp_path / "data"

    def rotate(value: str) -> None:
        (secrets / "k").write_text(value)
        (secrets / "k").chmod(0o600)

    rotate("first-secret-value")
    assert quick(data, "apply", "--repo", str(git.path), "--config", str(config), "--approve").code == 0
    rotate("second-secret-value")
    made = quick(data, "plan", "--repo", str(git.path), "--config", str(config), "--json").json
    assert made["summary"]["byCause"] == {Cause.INPUT.value: 1}
    assert "secret-value" not in json.dumps(made)
    assert not [path for path in data.rglob("*") if path.is_file() and b"secret-value" in path.read_bytes()]


def test_a_secret_is_digested_by_its_value_alone() -> None:
    here, there = (Secret(ref=SecretRef(store=store, key="k"), token="t") for store in ("a", "b"))
    assert digest({"x": here}) == digest({"x": there})
    assert digest({"x": here}) != digest({"x": Secret(ref=here.ref, token="u")})


def test_a_refusal_names_the_next_step(site: Site) -> None:
    open_site = installation(site.data)
    with pytest.raises(Refused) as caught:
        make_plan(open_site, open_site.repository(str(site.git.path)), Request(scope="host/none/*"))
    assert "nothing is in the scope" in str(caught.value)
    assert "next:" in str(caught.value)
