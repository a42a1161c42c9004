"""What of the picture somebody sees: the hosts of his tenants, or of his scopes in them, and how many stand how."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.identity.sight import Sight
from reconciler.reading.call import Call
from reconciler.reading.paging import Document
from reconciler.reading.picture import Hosts, Key, Picture, Stand, State
from reconciler.reading.watch import watch


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

    def each(self, after: str = "") -> Iterator[tuple[str, int]]:
        """Name and number of the stand of each, after a name."""
        names, stands = self.hosts.names, self.hosts.stands
        for place in range(len(names)) if self.places is None else self.places:
            if names[place] > after:
                yield names[place], stands[place]


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
        source, tenant = key
        places = [n for n, name in enumerate(hosts.names) if self.sight.sees(source, tenant, f"host/{tenant}/{name}")]
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


def seen(call: Call) -> Seen:
    """The picture as the caller sees it."""
    return Seen(picture=watch(call.installation.store).picture(), sight=call.sight)


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
