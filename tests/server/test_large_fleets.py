"""A hundred thousand hosts: what a page and a search cost."""

from array import array
from collections.abc import Iterator

import pytest

from reconciler.identity.access import Access, Identity, role_mapping
from reconciler.identity.caller import Caller
from reconciler.reading import hosts, overview, search
from reconciler.reading.call import Call
from reconciler.reading.paging import Document
from reconciler.reading.picture import Hosts, Picture, Stand, State
from reconciler.reading.watch import watch
from reconciler.server.render import page
from tests.fleets import Chosen, installation

NUMBER, TENANTS, MOST_BYTES = 100_000, 10, 300_000
STANDS = tuple(Stand(state=state, drivers=(("ansible", state), ("boot", State.CONVERGED), ("fleet", State.CONVERGED))) for state in State)


class Name(str):
    """A name that counts how often something is looked for in it."""

    __slots__ = ()
    looked = 0

    def __contains__(self, text: object) -> bool:
        Name.looked += 1
        return isinstance(text, str) and str(self).find(text) >= 0


def pictured(kind: type[str]) -> Picture:
    each = NUMBER // TENANTS
    names = tuple(kind(f"web-{n:06d}.a-long-name-of-a-rack") for n in range(each))
    stands = array("I", (n % len(STANDS) for n in range(each)))
    return Picture(at=0.0, hosts={("test", f"tenant-{n}"): Hosts(names=names, stands=stands) for n in range(TENANTS)}, stands=STANDS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chosen]:
    made = installation(tmp_path_factory.mktemp("large") / "data")
    found = watch(made)
    found.look()
    found._picture, found._asked_at = pictured(str), float("inf")
    yield made
    made.close()


def call(made: Chosen, *scopes: str) -> Call:
    who = Identity(name="github:ada")
    found = Call(installation=made, caller=Caller(identity=who, name="ada"))
    binding = {"role": "viewer", "subjects": [who.name]} | ({"scopes": list(scopes)} if scopes else {})
    mapping = role_mapping("rolemapping/all", "", {"bindings": [binding]})
    found.__dict__["access"] = Access(fleets={"test": (mapping,)})  # its cached property
    return found


def size(template: str, asked: Call, document: Document) -> int:
    return len(page(template, asked, document))


def test_the_largest_page_is_not_large(made: Chosen) -> None:
    asked = call(made)
    document = hosts.hosts(asked, hosts.HostsAsk(limit=500))
    assert len(document.items) == 500 and document.next
    assert size("hosts.html", asked, document) < MOST_BYTES
    assert size("overview.html", asked, overview.overview(asked, overview.OverviewAsk())) < MOST_BYTES


def test_all_pages_have_each_host_once(made: Chosen) -> None:
    asked, cursor, found = call(made), "", set[str]()
    for _ in range(NUMBER // 500 // 5):
        document = hosts.hosts(asked, hosts.HostsAsk(limit=500, state=State.FAILED, cursor=cursor))
        found.update(item.ref for item in document.items)
        cursor = document.next
    assert len(found) == NUMBER // len(STANDS) and not cursor


@pytest.mark.parametrize(
    ("text", "most", "hits"),
    [("zzz", NUMBER, 0), ("web-000001", NUMBER, 10), ("tenant-3/web-000001", NUMBER // TENANTS, 1), ("tenant-3", NUMBER, 10), ("t", 0, 0)],
)
def test_a_search_looks_at_each_name_once_at_most(made: Chosen, monkeypatch: pytest.MonkeyPatch, text: str, most: int, hits: int) -> None:
    monkeypatch.setattr(watch(made), "_picture", pictured(Name))
    Name.looked = 0
    assert len(search.search(call(made), search.SearchAsk(q=text)).items) == hits
    assert Name.looked <= most


def test_a_scope_is_matched_once(made: Chosen, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.reading import seen

    asked, real = list[str](), seen.in_scope

    def counting(where: str, scope: str) -> bool:
        asked.append(where)
        return real(where, scope)

    monkeypatch.setattr(seen, "in_scope", counting)
    for _ in range(3):
        document = hosts.hosts(call(made, "host/tenant-1/web-00000*"), hosts.HostsAsk())
        assert len(document.items) == 10
    assert len(asked) == NUMBER
