"""Facts over hosts, as each caller sees them: what he does not see is neither told nor counted."""

from collections.abc import Iterator

import msgspec
import pytest

from reconciler.errors import Refused
from reconciler.identity.caller import Caller
from reconciler.reading.call import Call
from reconciler.reading.facts import FactHostsAsk, FactsAsk, HostFactsAsk, fact_hosts, facts, facts_of_host
from reconciler.reading.watch import watch
from reconciler.store.hosts import save_told
from tests.server.site import Site
from tests.server.tenants import CALLERS, HOSTS, NARROW, NOBODY, ROOT, fill, told, two_tenants
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Iterator[Site]:
    made = two_tenants(tmp_path_factory.mktemp("facts"), database_url)
    fill(made)
    watch(made.installation).look()
    yield made
    made.installation.close()


def call(site: Site, by: Caller, **path: str) -> Call:
    return Call(installation=site.installation, caller=by, path=path)


def test_everybody_counts_the_hosts_that_he_sees(site: Site) -> None:
    counted = {}
    for caller in CALLERS:
        by = call(site, caller)
        mine = [(tenant, name) for tenant, name in HOSTS if by.sight.sees("test", tenant, f"host/{tenant}/{name}")]
        found = facts(by, FactsAsk())
        kernels = {f"6.1.0-26-{tenant}": len([1 for of, _ in mine if of == tenant]) for tenant, _ in mine}
        assert {one.value: one.hosts for one in found.values} == kernels
        assert {(one.path, one.hosts) for one in found.changes} == {("kernel", number) for number in kernels.values()}
        listed = fact_hosts(by, FactHostsAsk(where="kernel=6.1*"))
        assert [(one.tenant, one.name) for one in listed.items] == sorted(mine)
        counted[caller.identity.name] = len(mine)
    assert counted["github:root"] == 5 and counted["github:nobody"] == 0
    assert len(set(counted.values())) > 2


def test_one_tenant_and_one_fact(site: Site) -> None:
    found = facts(call(site, ROOT), FactsAsk(fact="memory_mb", tenant="bank"))
    assert [(one.value, one.hosts) for one in found.values] == [("1024", 2)]
    assert found.changes == []
    assert [one.name for one in fact_hosts(call(site, ROOT), FactHostsAsk(where="distribution=deb*", tenant="bank", limit=1)).items] == [
        "vault-01"
    ]


def test_pages_of_hosts_go_on_where_they_ended(site: Site) -> None:
    ask = FactHostsAsk(where="kernel=*", limit=2)
    names: list[str] = []
    while True:
        page = fact_hosts(call(site, ROOT), ask)
        names += [one.name for one in page.items]
        if not page.next:
            break
        ask = msgspec.structs.replace(ask, cursor=page.next)
    assert names == ["vault-01", "vault-02", "web-01", "web-02", "web-03"]


@pytest.mark.parametrize("where", ["kernel", "interfaces.eth0.mac=*", "=", "secret=*"])
def test_a_fact_that_hosts_are_not_found_by_is_refused(site: Site, where: str) -> None:
    with pytest.raises(Refused, match="no fact that hosts are found by"):
        fact_hosts(call(site, ROOT), FactHostsAsk(where=where))


def test_a_host_s_own_facts(site: Site) -> None:
    found = facts_of_host(call(site, ROOT, tenant="bank", name="vault-01"), HostFactsAsk(path="interfaces.eth0"))
    assert found.facts == {"interfaces.eth0.mac": "52:54:00:vault-01"}
    assert found.changes == []
    with site.store.write() as connection:
        save_told(connection, [told("bank", "vault-01", connection.now(), 27)])
    found = facts_of_host(call(site, ROOT, tenant="bank", name="vault-01"), HostFactsAsk())
    assert [one.after for one in found.changes] == ['"6.1.0-27-bank"', '"6.1.0-26-bank"']
    assert found.checked_at == found.seen_at == found.facts_at
    for caller in (NOBODY, NARROW):
        with pytest.raises(Refused):
            facts_of_host(call(site, caller, tenant="bank", name="vault-02"), HostFactsAsk())
