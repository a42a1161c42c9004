"""What a tree declares, seen as the compiled tree of the index and what differs from it. Reads the index; parses files through the reader."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from reconciler.desired.contribution import Reader, SourceFile
from reconciler.desired.foreign import Owners
from reconciler.desired.hostset import TooMany, expand
from reconciler.desired.manifest import Manifest, Parsed
from reconciler.errors import Permanent
from reconciler.index.file import Damaged
from reconciler.index.state import NO_MEMBER, Place, State

KEPT = 64


def place_of(manifest: Manifest, blob: bytes, member: int = NO_MEMBER) -> Place:
    """Where a manifest, or a member of a HostSet, stands."""
    return Place(ref=manifest.key, path=manifest.path, number=manifest.index, member=member, blob=blob, line=manifest.line)


def chooses(manifest: Manifest) -> bool:
    """Whether it is a Role that chooses its hosts."""
    return manifest.kind == "Role" and "match" in manifest.spec


class Members:
    """HostSets as the hosts that they stand for; the last few are remembered."""

    def __init__(self, reader: Reader) -> None:
        self._rules = reader.contract.rules
        self._known: OrderedDict[tuple[str, int, int], tuple[Manifest, ...]] = OrderedDict()

    def of(self, hosts: Manifest) -> tuple[Manifest, ...]:
        """The members in order; none when its addresses run out, which is a finding of its own."""
        key = hosts.path, hosts.index, id(hosts)
        if key not in self._known:
            try:
                self._known[key] = tuple(expand(hosts, self._rules))
            except TooMany:
                self._known[key] = ()
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return self._known[key]


def places(parsed: Parsed, blob: bytes, members: Members) -> Iterator[tuple[Place, Manifest]]:
    """Every manifest of a file with its place, HostSets followed by their members."""
    for manifest in parsed.manifests:
        yield place_of(manifest, blob), manifest
        if manifest.kind == "HostSet":
            for number, member in enumerate(members.of(manifest)):
                yield place_of(member, blob, number), member


class Declarations:
    """`Declared` for a catalog. `gone`: places of the compiled tree that declare nothing here; `come`: what is declared here besides."""

    def __init__(
        self,
        state: State,
        reader: Reader,
        owners: Owners,
        gone: Collection[Place] = frozenset(),
        come: Mapping[str, Sequence[tuple[Place, Manifest]]] | None = None,
    ) -> None:
        self.state, self.reader, self.members = state, reader, Members(reader)
        self._owners, self._gone, self._come = owners, gone, come or {}
        self._files: OrderedDict[tuple[str, bytes], Mapping[int, Manifest]] = OrderedDict()

    def at(self, key: str) -> list[Manifest]:
        """All manifests of one identity, by path."""
        return [self.load(place) for place in self.places(key)]

    def places(self, key: str) -> list[Place]:
        """Where an identity is declared, by path."""
        found = [place for place in self.state.places(key) if place not in self._gone]
        if key in self._come:
            found = sorted([*found, *(place for place, _ in self._come[key])])
        return found

    def keys(self, kind: str) -> Iterable[str]:
        """The identities of a kind."""
        kind = kind.lower()
        there = {place.ref for place in self._gone if place.ref.startswith(f"{kind}/")}
        known = [key for key in self.state.refs(kind) if key not in there or self.places(key)]
        return {*known, *(key for key in self._come if key.startswith(f"{kind}/"))}

    def choosing(self) -> Iterable[str]:
        """The identities of Roles that choose their hosts; of the others nothing is read."""
        touched = {key for key in (*self._come, *(place.ref for place in self._gone)) if key.startswith("role/")}
        return {*self.state.choosing()} - touched | {key for key in touched if any(chooses(role) for role in self.at(key))}

    def count(self) -> int:
        """How many identities are declared, members of HostSets aside."""
        come = {place.ref for items in self._come.values() for place, _ in items if place.member == NO_MEMBER}
        touched = come | {place.ref for place in self._gone if place.member == NO_MEMBER}
        now = {ref for ref in touched if any(place.member == NO_MEMBER for place in self.places(ref))}
        before = {ref for ref in touched if any(place.member == NO_MEMBER for place in self.state.places(ref))}
        return self.state.count() + len(now) - len(before)

    def load(self, place: Place) -> Manifest:
        """The manifest at a place."""
        for known, manifest in self._come.get(place.ref, ()):
            if known == place:
                return manifest
        key = place.path, place.blob
        if key not in self._files:
            file = SourceFile(path=place.path, blob=place.blob.hex())
            try:
                self._files[key] = {manifest.index: manifest for manifest in self.reader.of(file, self._owners).manifests}
            except Permanent as error:
                raise Damaged(f"it says that {place.path} is a file that cannot be read: {error.message}") from error
            if len(self._files) > KEPT:
                self._files.popitem(last=False)
        found = self._files[key].get(place.number)
        if found is not None and place.member != NO_MEMBER:
            members = self.members.of(found) if found.kind == "HostSet" else ()
            found = members[place.member] if place.member < len(members) else None
        if found is None or found.key != place.ref:
            raise Damaged(f"{place.path} does not declare {place.ref}")
        return found
