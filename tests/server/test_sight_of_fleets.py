"""For whatever roles, tenants and hosts: nobody gets a name or a number of what he does not see, and all of what he does."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.ansible.settings import ansible_settings
from reconciler.drivers.memory import MemoryDriver, World
from reconciler.identity.access import Access, Action, Identity, Resource
from reconciler.identity.caller import Caller
from reconciler.reading import drift, host, hosts, installs, overview, search, status
from reconciler.reading import watch as watching
from reconciler.reading.call import Call
from reconciler.reading.paging import Paged
from reconciler.server.route import Nothing
from reconciler.settings import Ansible
from reconciler.store.engine import Connection
from reconciler.store.installs import arm, note_installed, save_seen
from reconciler.store.samples import save_samples
from reconciler.types.installation import Installation, Installed, State
from tests.fleets import Chosen, installation
from tests.identity.test_access import FLEETS, accesses, people
from tests.operations.rows import add, add_spec

NAMES = ("db-1", "web-1", "web-2")
TENANTS = ("shop", "bank")
DRIVERS = ("ansible", "memory")
Where = tuple[str, str, str]
"""Source, tenant and name of a host."""
worlds = st.dictionaries(
    st.tuples(st.sampled_from(FLEETS), st.sampled_from(TENANTS), st.sampled_from(NAMES)),
    st.dictionaries(st.sampled_from(DRIVERS), st.sampled_from(("converged", "drifted", "unknown")), min_size=1),
    max_size=8,
).map(lambda world: {where: world[where] for where in sorted(world) if where[0] == min(w[0] for w in world if w[1:] == where[1:])})
"""Hosts, each of one source alone, with how each driver's part of them stands."""
KINDS = {"converged": "present", "drifted": "absent", "unknown": "unknown"}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chosen]:
    path = tmp_path_factory.mktemp("sight")
    drivers = MemoryDriver(world=World(str(path / "world.db"))), AnsibleDriver(ansible_settings(Ansible()))
    made = installation(path / "data", *drivers)
    yield made
    made.close()


def token(where: Where) -> str:
    """A word that only this host has, wherever it is told of."""
    return "id-" + "-".join(where)


def fill(made: Chosen, world: Mapping[Where, Mapping[str, str]]) -> None:
    """A database that holds this world, and no picture of another."""
    watching._watches.pop(made.store, None)
    with made.store.write() as connection:
        for table in ("record", "observation", "source", "spec", "sample", "installation", "installed", "boot_seen"):
            connection.run(f"DELETE FROM {table}")
        for source in FLEETS:
            add(connection, "source", name=source, location=f"/{source}", applied_commit="c" * 40, at=0.0)
        for where, drivers in world.items():
            for driver, state in drivers.items():
                _resource(connection, where, driver, state)
            _install(connection, where)
        at = int(connection.now() // 300 * 300)
        save_samples(connection, {(at, source, tenant, 1, 0, 0, 0, 0) for source, tenant, _ in world})


def _install(connection: Connection, where: Where) -> None:
    """It is being installed, and was told what to boot."""
    source, tenant, name = where
    said = {"claimed_by": token(where), "stage": token(where), "log": token(where), "facts": b'{"%s":1}' % token(where).encode()}
    made = Installation(
        id=token(where),
        tenant=tenant,
        host=name,
        source=source,
        generation=1,
        attempt=1,
        attempts=1,
        state=State.INSTALLING,
        operation="r.1",
        run=token(where),
        token=token(where),
        armed_at=1.0,
        expires_at=2.0,
        **said,
    )
    arm(connection, made)
    note_installed(connection, Installed(tenant=tenant, host=name, generation=1, at=1.0, why=token(where)))
    save_seen(connection, [(tenant, name, 1.0, token(where), "bios", "local", token(where))])


def _resource(connection: Connection, where: Where, driver: str, state: str) -> None:
    source, tenant, name = where
    address, digest = f"{driver}/config/{tenant}/{name}", add_spec(connection, token(where))
    rules = b'{"tenant":"%s","provider":"","order":0,"protect":false,"onDelete":"delete","dependsOn":[]}' % tenant.encode()
    add(
        connection,
        "record",
        address=address,
        source=source,
        digest=digest,
        rules=rules,
        group=f"host/{tenant}/{name}",
        external_id=token(where) + driver,
        observed_digest=digest,
        commit="c",
    )
    body = b'{"externalId":""}' if state == "converged" else b'{"code":"c","reason":"r"}' if state == "unknown" else b"{}"
    add(connection, "observation", address=address, kind=KINDS[state], digest=digest, body=body, at=1.0, settled=state == "converged")


def worst(drivers: Mapping[str, str]) -> str:
    return max(drivers.values(), key=("converged", "drifted", "unknown").index)


def call(made: Chosen, access: Access, who: Identity, path: Mapping[str, str]) -> Call:
    found = Call(installation=made, caller=Caller(identity=who, name=who.name), path=path)
    found.__dict__["access"] = access  # its cached property
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(worlds, accesses(), people)
def test_each_gets_what_he_sees_and_nothing_else(chosen: Chosen, world: dict[Where, dict[str, str]], access: Access, who: Identity) -> None:
    def sees(where: Where) -> bool:
        source, tenant, name = where
        resource = Resource(source=source, tenant=tenant, group=f"host/{tenant}/{name}")
        return access.decide(who, Action.VIEW, resource).allowed

    fill(chosen, world)
    mine = {where: drivers for where, drivers in world.items() if sees(where)}

    def ask(do: Any, asked: Any, **path: str) -> Any:
        answer = do(call(chosen, access, who, path), asked)
        text = msgspec.json.encode(answer).decode()
        told = {f"host/{tenant}/{name}" for tenant, name in re.findall(r"(?:host|config|hosts)/(shop|bank)/([a-z]+-\d)", text)}
        assert told <= {f"host/{tenant}/{name}" for _, tenant, name in mine}, text
        assert not [where for where in world.keys() - mine.keys() if token(where) in text]
        return answer

    listed = ask(hosts.hosts, hosts.HostsAsk())
    assert {(one.source, one.tenant, one.name): one.state for one in listed.items} == {where: worst(of) for where, of in mine.items()}
    shown = ask(overview.overview, overview.OverviewAsk())
    numbers = Counter(worst(of) for of in mine.values())
    assert {name: number for name, number in msgspec.to_builtins(shown.hosts).items() if number} == dict(numbers)
    assert {(one.source, one.tenant) for one in shown.tenants} == {where[:2] for where in mine}
    each = Counter((driver, state) for of in mine.values() for driver, state in of.items())
    assert {(of.driver, s): n for of in shown.drivers for s, n in msgspec.to_builtins(of.hosts).items() if n} == dict(each)
    wholes = {w[:2] for w in mine if access.decide(who, Action.VIEW, Resource(source=w[0], tenant=w[1])).allowed}
    assert sum(one.hosts.converged for one in shown.history) == len(wholes)
    drifted = ask(drift.drift, drift.DriftAsk())
    assert {(one.source, one.tenant, one.name) for one in drifted.items} == {w for w, of in mine.items() if "drifted" in of.values()}
    ask(status.status, Nothing())
    going_on = ask(installs.installs, installs.InstallsAsk())
    assert {(one.source, one.tenant, one.host) for one in going_on.items} == mine.keys() and not going_on.next
    assert shown.installs == ({"installing": len(mine)} if mine else {})
    for text in ("host/", "b-", "web", "memory/", "id-", "config"):
        ask(search.search, search.SearchAsk(q=text))
    for source, tenant, name in world:
        path = {"tenant": tenant, "name": name}
        if (source, tenant, name) in mine:
            assert ask(host.host, host.HostAsk(), **path).state == worst(mine[source, tenant, name])
            ask(host.host_runs, Paged(), **path)
            assert ask(installs.of_host, Nothing(), **path).log == token((source, tenant, name))
        else:
            with pytest.raises(Exception, match=f"there is no host {tenant}/{name}"):
                ask(host.host, host.HostAsk(), **path)
            with pytest.raises(Exception, match=f"there is no host {tenant}/{name}"):
                ask(installs.of_host, Nothing(), **path)
