"""What of the picture somebody sees: the hosts of his tenants, or of his scopes in them, and how many stand how."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from reconciler.identity.access import Action
from reconciler.identity.sight import Sight
from reconciler.reading.call import Call
from reconciler.reading.paging import Document
from reconciler.reading.picture import Hosts, Key, Picture, Stand, State
from reconciler.reading.watch import watch
from reconciler.scope import in_scope


class Numbers(Document, frozen=True, kw_only=True):
    """How many hosts stand how."""

    converged: int = 0
    changing: int = 0
    drifted: int = 0
    unknown: int = 0
    failed: int = 0


def numbers(of: Mapping[State, int]) -> Numbers:
    """The document."""
    return Numbers(**{state.value: of.get(state, 0) for state in State})


@dataclass(frozen=True, kw_only=True)
class Part:
    """The hosts of a tenant that are seen: all, or those at these places."""

    key: Key
    hosts: Hosts
    places: Sequence[int] | None

    def each(self, text: str = "", after: str = "") -> Iterator[tuple[str, int]]:
        """Name and number of the stand of each whose name has this text in it, after a name."""
        names, stands = self.hosts.names, self.hosts.stands
        places: Sequence[int] = range(len(names)) if self.places is None else self.places
        if after:
            places = places[bisect_right(places, after, key=names.__getitem__) :]
        if text:
            places = [place for place in places if text in names[place]]
        return ((names[place], stands[place]) for place in places)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The picture as one identity sees it."""

    picture: Picture
    sight: Sight

    def parts(self, tenant: str = "") -> Iterator[Part]:
        """By tenant, then by source; of one tenant alone, if one is named."""
        for key in sorted(self.picture.hosts, key=lambda key: (key[1], key[0])):
            if tenant in ("", key[1]) and (found := self.part(key)) is not None:
                yield found

    def part(self, key: Key) -> Part | None:
        """One tenant's; None if nothing of it is seen, or there is none."""
        hosts = self.picture.hosts.get(key)
        if hosts is None or not self.sight.some_of(*key):
            return None
        if self.sight.of_tenant(*key):
            return Part(key=key, hosts=hosts, places=None)
        held = self.sight.access.held(self.sight.identity, Action.VIEW, *key)
        places = _within(hosts.names, key[1], frozenset(scope for binding in held for scope in binding.scopes))
        return Part(key=key, hosts=hosts, places=places) if places else None

    def tally(self, part: Part) -> Counter[int]:
        """How many of a part have each stand."""
        return self.picture.tallies[part.key] if part.places is None else Counter(part.hosts.stands[place] for place in part.places)

    def stand(self, source: str, tenant: str, name: str) -> Stand | None:
        """How a host stands; None if it is not seen, or there is none."""
        return self.picture.stand((source, tenant), name) if self.sight.sees(source, tenant, f"host/{tenant}/{name}") else None

    def sources_of(self, tenant: str, name: str) -> list[str]:
        """The sources that have a host of this name, and are seen to."""
        found = (source for source, of in sorted(self.picture.hosts) if of == tenant)
        return [source for source in found if self.stand(source, tenant, name) is not None]


@lru_cache(maxsize=16)
def _within(names: tuple[str, ...], tenant: str, scopes: frozenset[str]) -> Sequence[int]:
    """The places of a tenant's hosts that are in any of some scopes: remembered, as names change seldom."""
    return [place for place, name in enumerate(names) if any(in_scope(f"host/{tenant}/{name}", scope) for scope in scopes)]


def seen(call: Call) -> Seen:
    """The picture as the caller sees it."""
    return Seen(picture=watch(call.installation).picture(), sight=call.sight)


def by_state(stands: Sequence[Stand], tally: Mapping[int, int]) -> Counter[State]:
    """How many hosts are in each state."""
    found = Counter[State]()
    for number, hosts in tally.items():
        found[stands[number].state] += hosts
    return found


def by_driver(stands: Sequence[Stand], tallies: Iterable[Mapping[int, int]]) -> dict[str, Counter[State]]:
    """The same of each driver's part of the hosts."""
    found: dict[str, Counter[State]] = {}
    for tally in tallies:
        for number, hosts in tally.items():
            for driver, state in stands[number].drivers:
                found.setdefault(driver, Counter())[state] += hosts
    return found
