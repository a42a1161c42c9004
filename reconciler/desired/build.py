"""The index made from nothing: every file of a tree is read, checked and resolved once."""

from collections.abc import Iterable, Iterator, Sequence

from reconciler.desired.clash import clashes
from reconciler.desired.compiler import Compiler, chunks
from reconciler.desired.contribution import SourceFile
from reconciler.desired.declared import Declarations, Members, chooses, place_of, places
from reconciler.desired.desired import fleet_of
from reconciler.desired.difference import ignored
from reconciler.desired.findings import Findings, packed
from reconciler.desired.foreign import Owner, Owners, owner_rows, projects
from reconciler.desired.layers import Unresolved
from reconciler.desired.manifest import Manifest
from reconciler.desired.packed import pack_parsed, unpack_parsed
from reconciler.desired.parallel import parse_all
from reconciler.desired.resolve import Resolution, Resolver
from reconciler.desired.visitor import Visited, Visitor
from reconciler.index.state import CHOOSES, HostRow, Place
from reconciler.stages import count, stage
from reconciler.types.rule import WHOLE


class Build:
    """The index made from nothing: every file is read, first for what is shared, then for its hosts. Holds nothing per host."""

    def __init__(self, compiler: Compiler, visit: Visitor) -> None:
        self.compiler, self.visit = compiler, visit
        self.state, self.reader = compiler.state, compiler.reader

    def go(self) -> None:
        """Fill the tables."""
        self.state.begin()
        left_out = ignored(self.compiler.tree)
        files = [file for file in self.compiler.tree.files() if file.path not in left_out]
        with stage("parse"):
            mixed = parse_all(self.reader, files)
        owners = self._projects(mixed)
        self._shared(mixed if not owners else files, owners)
        declared = Declarations(self.state, self.reader, owners)
        catalog = self.compiler.catalog(declared, {path: unpack_parsed(path, body) for path, body in self.state.bad().items()})
        findings = Findings(catalog, self.compiler.text)
        resolver = Resolver(catalog=catalog, rules=self.compiler.contract.rules, token=self.compiler.token)
        with stage("hosts"):
            for part in chunks(self._hosts(files, owners, declared.members)):
                self._examine(part, resolver, findings, len(files))
        self._together(declared, findings)
        self.compiler.shared(findings)
        for key in declared.keys("HostSet"):
            for hosts in declared.at(key):
                findings.hostset(hosts, self.compiler.contract.rules)
        for policy in catalog.of("Policy"):
            findings.policy(policy)
        self.state.replace_findings((), packed(findings.by_owner))

    def _projects(self, files: Iterable[SourceFile]) -> Owners:
        found: list[tuple[str, Owner]] = []
        for file in files:
            rows = list(projects(self.reader.raw(file)))
            self.state.replace_projects(file.path, owner_rows(rows))
            found += rows
        return Owners(found)

    def _shared(self, files: Iterable[SourceFile], owners: Owners) -> None:
        """Everything but hosts, and files with problems."""
        for file in files:
            if owners and not owners.of(file.path) and self.reader.only_hosts(file):
                continue
            parsed = self.reader.of(file, owners)
            if parsed.problems or parsed.unknown or parsed.broken:
                self.state.replace_bad(file.path, pack_parsed(parsed))
            self.state.put(
                (place_of(m, file.blob_id), HostRow(open=m.kind in WHOLE, identity=CHOOSES if chooses(m) else ""))
                for m in parsed.manifests
                if m.kind != "Host"
            )

    def _hosts(self, files: Iterable[SourceFile], owners: Owners, members: Members) -> Iterator[tuple[Place, Manifest]]:
        for file in self._prefetched(files):
            if file.problem is None:
                parsed = self.reader.of(file, owners)
                yield from ((place, manifest) for place, manifest in places(parsed, file.blob_id, members) if manifest.kind == "Host")

    def _prefetched(self, files: Iterable[SourceFile]) -> Iterator[SourceFile]:
        for part in chunks(files):
            self.compiler.index.prefetch([file.blob_id for file in part])
            yield from part

    def _examine(self, part: Sequence[tuple[Place, Manifest]], resolver: Resolver, findings: Findings, files: int) -> None:
        looked: list[tuple[Place, Manifest, Resolution | None, str | None]] = []
        for place, manifest in part:
            try:
                looked.append((place, manifest, resolver.resolution(manifest), None))
            except Unresolved as found:
                findings.unresolved(place.ref, found)
                looked.append((place, manifest, None, found.message))
        count("hosts_resolved", len(looked))
        fleet = fleet_of(resolver.catalog)
        hosts = [resolution.host for _, _, resolution, _ in looked if resolution]
        good = iter(self.visit.visit(fleet.name if fleet else "", hosts, (), files))
        self.state.put(
            (place, self.compiler.row(resolution, manifest, next(good) if resolution else Visited(), blocked))
            for place, manifest, resolution, blocked in looked
        )
        self.state.put_identities((i, place.ref) for place, _, resolution, _ in looked if resolution for i in resolution.identities)

    def _together(self, declared: Declarations, findings: Findings) -> None:
        """What only shows when all hosts are known: names, origins and identities that two of them have."""
        for group in self.state.declared_twice():
            if group.startswith("host/"):
                findings.by_owner.pop(group, None)
                findings.twice(group, declared.at(group))
                self.state.set_problem(group, "it is declared twice")
                self.state.remove_identities((i, group) for _, row in self.state.host(group) for i in row.identity.split("\n"))
                self.state.forget_host(group)
        for group, first in self.state.moved_twice():
            manifest = declared.at(group)[0]
            findings.by_owner.pop(group, None)
            self.state.set_problem(group, findings.moved_twice(manifest, first))
            self.state.remove_identities((i, group) for _, row in self.state.host(group) for i in row.identity.split("\n"))
            self.state.forget_host(group)
        shared = self.state.shared_identities()
        for group in sorted(set().union(*shared.values())) if shared else ():
            manifest = declared.at(group)[0]
            has = sorted(identity for identity, groups in shared.items() if group in groups)
            for message in clashes(group, has, lambda identity: shared.get(identity, ())):
                findings.add(group, manifest, manifest.pointer("interfaces"), "identity-clash", message, "give each host its own")
                self.state.set_problem(group, message)
