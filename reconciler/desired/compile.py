"""A commit's tree in, everything that it wants out, with all problems. Costs what differs from the tree that the index has compiled.

`compile_tree` gives a view of a tree and leaves the index as it is; `settle` brings the index to a tree. Both look at each host that the
difference reaches once, in chunks, and hand those that resolve to a `Visitor`. A document that is wrong is unknown, never absent:
`Desired.blocked` names the hosts that depend on one, and `Desired.sound` says whether anything may be deleted.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol, TypeVar

from reconciler.desired.catalog import Catalog
from reconciler.desired.clash import changed_identities, clashes
from reconciler.desired.contribution import Contract, Reader, SourceFile
from reconciler.desired.declared import Declarations, Members, place_of, places
from reconciler.desired.difference import CONTENT, Difference, Tree, difference, ignored, owners_of
from reconciler.desired.findings import SHARED, Findings, packed, unpacked
from reconciler.desired.foreign import Owner, Owners, owner_rows, projects
from reconciler.desired.layers import Unresolved
from reconciler.desired.manifest import Manifest, Parsed, show
from reconciler.desired.packed import pack_parsed, unpack_parsed
from reconciler.desired.parallel import parse_all
from reconciler.desired.reader import locate
from reconciler.desired.resolve import SECRET, Resolution, Resolver, Token, secret_of
from reconciler.errors import Permanent
from reconciler.index.file import Index
from reconciler.index.state import HostRow, Place, State
from reconciler.stages import count
from reconciler.types.host import FleetScope, ResolvedHost, ResolvedTenant
from reconciler.types.origin import Origin
from reconciler.types.problem import Problem, Severity

__all__ = ["Contract", "Desired", "SourceFile", "Tree", "Visited", "Visitor", "compile_tree", "settle"]

CHUNK = 500
WHOLE = ("Fleet", "Tenant")
"""Kinds besides Host that resources are made of."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visited:
    """What a visitor says of a host: further inputs that its resources depend on, and whether they may differ from the record."""

    inputs: frozenset[str] = frozenset()
    open: bool = True


Changed = frozenset[str] | None
"""The top-level names of a host's values that may differ from those in the compiled tree; None: any."""


OWN, LAYERS = "own:", "layers:"
"""Begin the names of what are no inputs: a top-level name that a host itself says something about, and its profile and roles."""

NOT_ALIKE = frozenset({"interfaces", "domain", "fqdn", "disk", "protect", "templates"})
"""Values that a host's own are combined with, or that decide more than themselves."""


class Visitor(Protocol):
    """Is shown hosts in chunks, each host once."""

    def visit(self, fleet: str, hosts: Sequence[ResolvedHost], changed: Sequence[Changed], whole: int) -> Sequence[Visited]:
        """Something of each host. `fleet`: the Fleet's name; `changed`: what may have changed of each (nothing: anything); `whole`: how many hosts
        there will be in all chunks, 0 if nobody knows."""

    def alike(self, old: ResolvedHost, new: ResolvedHost, changed: frozenset[str], places: Sequence[Place], whole: int) -> Collection[str]:
        """Is shown one host, as it was and as it is, in place of all that differ from their former selves in the same values, which they take as they are
        from the same layers. Gives the groups that need not be shown one by one."""


class Silent:
    """The visitor that has nothing to say."""

    def visit(self, fleet: str, hosts: Sequence[ResolvedHost], changed: Sequence[Changed], whole: int) -> Sequence[Visited]:
        """Nothing."""
        del fleet, changed, whole
        return [Visited()] * len(hosts)

    def alike(self, old: ResolvedHost, new: ResolvedHost, changed: frozenset[str], places: Sequence[Place], whole: int) -> Collection[str]:
        """All have to be looked at: they may have problems."""
        del old, new, changed, places, whole
        return ()


SILENT = Silent()


class Hosts(Mapping[str, Manifest]):
    """The hosts of a tree by group; each is looked up when asked for. Iterates in the order of tenant and name."""

    def __init__(self, declarations: Declarations, number: int) -> None:
        self._declarations, self._number = declarations, number

    def __getitem__(self, group: str) -> Manifest:
        found = self._declarations.at(group) if group.startswith("host/") else ()
        if not found:
            raise KeyError(group)
        return found[0]

    def __contains__(self, group: object) -> bool:
        return isinstance(group, str) and group.startswith("host/") and bool(self._declarations.places(group))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._declarations.keys("Host")))

    def __len__(self) -> int:
        return self._number


@dataclass(frozen=True, kw_only=True)
class Desired:
    """What a commit wants. `blocked` maps a host's group to why it is unknown. `reached`: groups whose resources may differ from those of the
    compiled tree.
    """

    catalog: Catalog
    declarations: Declarations
    resolver: Resolver
    hosts: Mapping[str, Manifest]
    problems: tuple[Problem, ...]
    blocked: Mapping[str, str]
    text: Callable[[str], bytes]
    reached: frozenset[str] = frozenset()

    @property
    def sound(self) -> bool:
        """Whether every document could be read and understood: only then may anything be deleted."""
        return not any(problem.severity is Severity.ERROR for problem in self.problems)

    @property
    def fleet(self) -> Manifest | None:
        """The Fleet, if its document is known."""
        return _fleet(self.catalog)

    def scopes(self, groups: Collection[str] | None = None) -> Iterator[FleetScope]:
        """What drivers make resources from, for everything or for some groups: the Fleet and its tenants, then host after host, each resolved
        once for all drivers and then let go.
        """
        name = self.fleet.name if self.fleet else ""
        whole = None if groups is None else {group for group in groups if not group.startswith("host/")}
        if self.fleet and (whole is None or whole):
            tenants = tuple(_tenant(m) for m in self.catalog.of("Tenant") if whole is None or m.key in whole)
            yield FleetScope(fleet=name, fleet_spec=self.fleet.spec, fleet_origin=self.fleet.origin, whole=True, tenants=tenants)
        for group in self.hosts if groups is None else sorted(groups):
            host = self.host(group)
            if host is not None:
                yield FleetScope(fleet=name, whole=False, hosts=(host,))

    def host(self, group: str) -> ResolvedHost | None:
        """One host with its values; None if there is none or it is blocked."""
        if group in self.blocked or group not in self.hosts:
            return None
        count("hosts_resolved")
        return self.resolver.resolve(self.hosts[group])

    def origin(self, manifest: Manifest, pointer: str) -> Origin:
        """The place of a value in a manifest's file."""
        return locate(manifest.path, self.text(manifest.path), manifest.index, pointer)

    def whole(self) -> list[str]:
        """The groups of the Fleet and its tenants."""
        return [manifest.key for kind in WHOLE for manifest in self.catalog.of(kind)]

    def count(self) -> int:
        """How many manifests there are; a HostSet is one."""
        return self.declarations.count()


def _fleet(catalog: Catalog) -> Manifest | None:
    fleets = catalog.of("Fleet")
    return fleets[0] if len(fleets) == 1 else None


def _tenant(manifest: Manifest) -> ResolvedTenant:
    spec = manifest.spec
    return ResolvedTenant(
        name=manifest.name, spec=spec, origin=manifest.origin, protect=bool(spec.get("protect", False)), on_delete=manifest.on_delete
    )


def compile_tree(
    tree: Tree, contract: Contract, token: Token, index: Index | None = None, visit: Visitor = SILENT, *, keep: bool = True
) -> Desired:
    """Everything that the files of the tree want. Never raises on user input: problems are in the result. The index stays as it is, unless it has
    no tree to compare with: then it is settled, or with `keep` false left alone all the same.
    """
    index = index or Index(None, "0" * 64)
    compiler = _Compiler(index, tree, contract, token)
    found = compiler.difference()
    if found is None:
        return settle(tree, contract, token, index if keep else Index(None, "0" * 64), visit)
    return _View(compiler, found, visit).desired()


def settle(tree: Tree, contract: Contract, token: Token, index: Index, visit: Visitor = SILENT) -> Desired:
    """As `compile_tree`, and the index has compiled this tree from now on. Raises sqlite3.OperationalError if another process is at it for too long."""
    with index.writing():
        compiler = _Compiler(index, tree, contract, token)  # another process may just have settled it
        found = compiler.difference()
        if found is None:
            _Build(compiler, visit).go()
        elif not found.empty:
            _View(compiler, found, visit, settle=True).desired()
        compiler.finish()
    return compile_tree(tree, contract, token, index, visit)  # another process may just have settled another one


class _Compiler:
    """An index, a tree to look at, and what both are read with."""

    def __init__(self, index: Index, tree: Tree, contract: Contract, token: Token) -> None:
        self.index, self.tree, self.contract, self.token = index, tree, contract, token
        self.state = State(index)
        self.reader = Reader(index=index, contract=contract, blob=tree.blob)
        self.digest = f"{contract.digest}:{index.schemas}"
        self.sets: dict[tuple[frozenset[str], frozenset[str], frozenset[str]], int] = {}

    def text(self, path: str) -> bytes:
        """The bytes of a file."""
        blob = self.tree.content(path)
        return self.tree.blob(blob) if blob else b""

    def difference(self) -> Difference | None:
        """Between the compiled tree and this one, new values of secrets included; None if there is nothing to compare with."""
        if not self.state.tree or self.state.contract != self.digest:
            return None
        try:
            found = difference(self.state, self.tree, self.reader)
        except Permanent:
            return None
        if found is not None:
            found.names.update(name for name, before in self.state.secrets().items() if self.token(*secret_of(name)) != before)
        return found

    def catalog(self, declared: Declarations, bad: Mapping[str, Parsed]) -> Catalog:
        """Of what is declared, with what is known to be wrong."""
        return Catalog(
            declared,
            unknown=frozenset(ref for parsed in bad.values() for ref in parsed.unknown),
            broken=any(parsed.broken for parsed in bad.values()),
            mentioned=frozenset(name for parsed in bad.values() for name in parsed.mentioned),
        )

    def shared(self, findings: Findings) -> None:
        """Findings about no host."""
        catalog = findings.catalog
        unknown = catalog.broken or any(ref[0] in ("Fleet", "") for ref in catalog.unknown) or any(catalog.declared.keys("Fleet"))
        findings.shared(lambda: any(True for _ in self.tree.files()), unknown_fleet=unknown)

    def row(self, resolution: Resolution | None, manifest: Manifest, visited: Visited, blocked: str | None) -> HostRow:
        """What the index keeps of a host."""
        return HostRow(
            inputs=self._inputs(resolution, manifest, visited) if resolution else self.state.inputs_id(frozenset()),
            identity="\n".join(resolution.identities) if resolution else "",
            open=visited.open,
            problem=blocked,
            moved=show(("Host", *manifest.moved_from)) if manifest.moved_from else None,
        )

    def _inputs(self, resolution: Resolution, manifest: Manifest, visited: Visited) -> int:
        layers = f"{LAYERS}{manifest.spec.get('profile', '')} {' '.join(manifest.spec.get('roles', ()))}"  # in their order, which inputs have not
        key = resolution.inputs, visited.inputs, frozenset((layers, *(OWN + name for _, spec in manifest.own for name in spec)))
        if key not in self.sets:
            inputs, more, own = key
            self.sets[key] = self.state.inputs_id(inputs | more | own)
        return self.sets[key]

    def finish(self) -> None:
        """The index has compiled the tree."""
        self.state.drop_unused()
        self.state.replace_secrets((name, self.token(*secret_of(name))) for name in self.state.used_secrets())
        self.state.end(self.tree.id, self.digest)
        self.index.evict()


class _View:
    """What a tree wants, as the compiled tree and a difference held in memory; with `settle` the index is brought to it."""

    def __init__(self, compiler: _Compiler, found: Difference, visit: Visitor, *, settle: bool = False) -> None:
        self.compiler, self.found, self.visit, self.settle = compiler, found, visit, settle
        self.state = compiler.state
        self.declared = Declarations(self.state, compiler.reader, found.owners, found.gone, found.come)
        self.bad = self._bad()
        self.catalog = compiler.catalog(self.declared, self.bad)
        self.findings = Findings(self.catalog, compiler.text)
        self.resolver = self._resolver()
        self.former = self._former()
        fleet = _fleet(self.catalog)
        self.fleet = fleet.name if fleet else ""
        self.before: dict[str, frozenset[str]] = {}
        self.after: dict[str, frozenset[str]] = {}
        self.blocked: dict[str, str] = {}

    def _resolver(self) -> Resolver:
        """With all that was merged before for the same shared manifests: where only hosts differ, they are those of the compiled tree."""
        index, found, catalog = self.compiler.index, self.found, self.catalog
        made = Resolver(catalog=catalog, rules=self.compiler.contract.rules, token=self.compiler.token)
        if found.sides or found.bad or any(name.startswith(SECRET) for name in found.names):
            return made
        if index.kept[0] != self.state.generation:
            index.kept = (self.state.generation, (catalog.known, catalog.kinds, made.bases, made.nets, made.unions))
        catalog.known, catalog.kinds, bases, nets, unions = index.kept[1]
        return replace(made, bases=bases, nets=nets, unions=unions)

    def _former(self) -> Resolver | None:
        """What resolved the compiled tree; None where more differs than layers."""
        names = self.found.names
        if self.settle or self.bad or not self.found.sides or any(name.startswith(("network/", SECRET)) for name in names):
            return None
        if self.state.uses(name for name in names if name.startswith(CONTENT)):
            return None
        return _View(self.compiler, Difference(owners=owners_of(self.state)), SILENT).resolver

    def _bad(self) -> dict[str, Parsed]:
        """What files with problems contribute, by path."""
        rows = self.state.bad() | {path: body or b"" for path, body in self.found.bad.items()}
        return {path: unpack_parsed(path, body) for path, body in sorted(rows.items()) if body}

    def desired(self) -> Desired:
        """Look at what the difference reaches, and tell everything."""
        found = self.found
        known = self.state.blocked()
        reached = {} if found.empty else self._reached(known)
        self._alike(reached)
        rows = self._examine(reached)
        self._clash({group for group in reached if group in known})
        recomputed = {*reached, *found.direct, *found.sets, *self.findings.by_owner, *self.after}
        if found.sides or found.sets or found.bad:
            recomputed.add(SHARED)
            self.compiler.shared(self.findings)
        for key in found.sets:
            for hosts in self.declared.at(key):
                self.findings.hostset(hosts, self.compiler.contract.rules)
        kept = [(owner, problem) for owner, problem in unpacked(self.state.findings()) if owner not in recomputed]
        if self.settle:
            self._settle(rows, recomputed)
        problems = {problem for parsed in self.bad.values() for problem in parsed.problems} | {problem for _, problem in kept}
        problems.update(problem for items in self.findings.by_owner.values() for problem in items)
        blocked = {group: why for group, why in known.items() if group not in reached and self.declared.places(group)} | self.blocked
        blocked |= {show(ref): "its document has problems" for ref in self.catalog.unknown if ref[0] == "Host"}
        whole = {key for key in found.sides if key.startswith(("fleet/", "tenant/"))}
        return Desired(
            catalog=self.catalog,
            declarations=self.declared,
            resolver=self.resolver,
            hosts=Hosts(self.declared, self._number()),
            problems=tuple(sorted(problems)),
            blocked=dict(sorted(blocked.items())),
            text=self.compiler.text,
            reached=frozenset({*reached, *self.blocked, *found.direct, *whole}),
        )

    def _number(self) -> int:
        """How many hosts there are."""
        touched = {place.ref for place in self.found.gone} | self.found.come.keys()
        changes = (bool(self.declared.places(key)) - self.state.declared(key) for key in touched if key.startswith("host/"))
        return self.state.hosts + sum(changes)

    def _reached(self, known: Collection[str]) -> dict[str, list[Place]]:
        """The hosts that the difference may mean something for, with the places that declare them. What was unknown is always looked at again."""
        again = {*known, *self.found.come, *(place.ref for place in self.found.gone)}
        named = self.state.using(self.found.names)
        reached = {place.ref: [place] for place in named if place.ref not in again}
        groups = {*self.found.direct, *known, *(place.ref for place in named if place.ref in again)}
        groups |= {other.ref for moved in self._moves() for other in self.state.came_from(moved)}
        for group in sorted(groups - reached.keys()):
            if here := self.declared.places(group):
                reached[group] = here
        return reached

    def _moves(self) -> set[str]:
        """Where hosts that differ say that they come from."""
        rows = (row for place in self.found.gone if place.ref in self.found.direct for _, row in self.state.host(place.ref))
        after = (m.moved_from for group in self.found.direct for _, m in self.found.come.get(group, ()))
        return {row.moved for row in rows if row.moved} | {show(("Host", *moved)) for moved in after if moved}

    def _examine(self, reached: Mapping[str, Sequence[Place]]) -> list[tuple[Place, HostRow]]:
        """Look at each host once; gives the rows to keep, if the index is to be settled."""
        rows: list[tuple[Place, HostRow]] = []
        for part in _chunks(reached.items()):
            self.compiler.index.prefetch([here[0].blob for _, here in part])
            looked = [(group, here, self._look(group, here)) for group, here in part]
            before = self.state.identities([group for group, _ in part])
            count("hosts_resolved", len(looked))
            for group, _, resolution in looked:
                self._identify(before.get(group, ""), group, resolution.identities if resolution else ())
            good = [resolution for _, _, resolution in looked if resolution]
            changed = () if self.settle else [self._changed(resolution) for resolution in good]
            visited = iter(self.visit.visit(self.fleet, [resolution.host for resolution in good], changed, len(reached)))
            for group, here, resolution in looked:
                said = next(visited) if resolution else Visited()
                if self.settle:
                    rows += [
                        (place, self.compiler.row(resolution, self.declared.load(place), said, self.blocked.get(group))) for place in here
                    ]
        return rows

    def _alike(self, reached: dict[str, list[Place]]) -> None:
        """Take out of what is to be looked at the hosts that the visitor can do without, because one of them tells all."""
        if self.former is None:
            return
        whole = len(reached)
        for names, users in self.state.alike(self.found.names):
            here = [place for place in users if reached.get(place.ref) == [place] and place.ref not in self.found.direct]
            if len(here) < 2:
                continue
            manifest = self.declared.load(here[0])
            changed = self.resolver.changed(manifest, self.former)
            own = {name.removeprefix(OWN) for name in names if name.startswith(OWN)}
            if changed is None or not changed.isdisjoint(NOT_ALIKE | own) or "templates" in own:
                continue
            try:
                old, new = self.former.resolution(manifest), self.resolver.resolution(manifest)
            except Unresolved:
                continue
            for group in self.visit.alike(old.host, new.host, changed, here, whole):
                del reached[group]

    def _changed(self, resolution: Resolution) -> Changed:
        """What may differ of a host that is declared as it was: what its layers say otherwise."""
        group = resolution.manifest.key
        if self.former is None or group in self.found.direct or group in self.found.come:
            return None
        return self.resolver.changed(resolution.manifest, self.former)

    def _look(self, group: str, here: Sequence[Place]) -> Resolution | None:
        """The host resolved, or None with the reason noted."""
        if len(here) > 1:
            self.findings.twice(group, self.declared.at(group))
            self.blocked[group] = "it is declared twice"
            return None
        manifest = self.declared.load(here[0])
        if manifest.moved_from is not None and (first := self._first_to_come(manifest)) != group:
            self.blocked[group] = self.findings.moved_twice(manifest, first)
            return None
        try:
            return self.resolver.resolution(manifest)
        except Unresolved as found:
            self.findings.unresolved(group, found)
            self.blocked[group] = found.message
            return None

    def _first_to_come(self, manifest: Manifest) -> str:
        """Of the hosts that say they come from where this one does, the first by name."""
        assert manifest.moved_from is not None  # noqa: S101 - asked for such hosts only
        there = self.state.came_from(show(("Host", *manifest.moved_from)))
        others = {place.ref for place in there if place not in self.found.gone}
        others |= {key for key, items in self.found.come.items() if any(m.moved_from == manifest.moved_from for _, m in items)}
        return min({manifest.key, *(other for other in others if len(self.declared.places(other)) == 1)})

    def _identify(self, before: str, group: str, after: Sequence[str]) -> None:
        if before != "\n".join(after):
            self.before[group], self.after[group] = frozenset(filter(None, before.split("\n"))), frozenset(after)

    def _clash(self, again: Collection[str]) -> None:
        """Who shares an identity, as far as what has been looked at changes it; `again`: hosts to look at in any case."""
        for group in {place.ref for place in self.found.gone if place.ref.startswith("host/")}:
            if not self.declared.places(group):
                self._identify(self.state.identities([group]).get(group, ""), group, ())
        looked = set(again)
        for identity in changed_identities(self.before, self.after):
            looked |= self._owners(identity)
        for group in sorted(looked - self.blocked.keys()):
            if not (here := self.declared.places(group)):
                continue
            for message in clashes(group, sorted(self._has(group)), self._owners):
                manifest = self.declared.load(here[0])
                self.findings.add(group, manifest, manifest.pointer("interfaces"), "identity-clash", message, "give each host its own")
                self.blocked[group] = message

    def _owners(self, identity: str) -> set[str]:
        known = {group for group in self.state.owners(identity) if group not in self.after}
        return known | {group for group, has in self.after.items() if identity in has}

    def _has(self, group: str) -> frozenset[str]:
        if group in self.after:
            return self.after[group]
        return frozenset(filter(None, self.state.identities([group]).get(group, "").split("\n")))

    def _settle(self, rows: Sequence[tuple[Place, HostRow]], recomputed: Collection[str]) -> None:
        """Write it all into the index."""
        state, found = self.state, self.found
        old = {place.ref: row for place in found.gone for _, row in state.host(place.ref)}
        fresh = {place for place, _ in rows}
        state.remove(found.gone)
        come = [place for items in found.come.values() for place, _ in items if place not in fresh]
        state.put((place, old.get(place.ref, HostRow(open=True)) if place.ref not in found.sides else HostRow(open=True)) for place in come)
        state.put(rows)
        for group in {place.ref for place in found.gone}:
            if not state.declared(group):
                state.set_orphan(group, orphan=True)
        for key in found.come:
            state.set_orphan(key, orphan=False)
        state.remove_identities((identity, group) for group, has in self.before.items() for identity in has - self.after[group])
        state.put_identities((identity, group) for group, has in self.after.items() for identity in has)
        for group, why in self.blocked.items():
            state.set_problem(group, why)
        for path, body in found.bad.items():
            state.replace_bad(path, body)
        for path, owners in found.projects.items():
            state.replace_projects(path, owner_rows(owners))
        state.replace_findings(recomputed, packed(self.findings.by_owner))


class _Build:
    """The index made from nothing: every file is read, first for what is shared, then for its hosts. Holds nothing per host."""

    def __init__(self, compiler: _Compiler, visit: Visitor) -> None:
        self.compiler, self.visit = compiler, visit
        self.state, self.reader = compiler.state, compiler.reader

    def go(self) -> None:
        """Fill the tables."""
        self.state.begin()
        left_out = ignored(self.compiler.tree)
        files = [file for file in self.compiler.tree.files() if file.path not in left_out]
        parse_all(self.reader, files)
        owners = self._projects(files)
        self._shared(files, owners)
        declared = Declarations(self.state, self.reader, owners)
        catalog = self.compiler.catalog(declared, {path: unpack_parsed(path, body) for path, body in self.state.bad().items()})
        findings = Findings(catalog, self.compiler.text)
        resolver = Resolver(catalog=catalog, rules=self.compiler.contract.rules, token=self.compiler.token)
        for part in _chunks(self._hosts(files, owners, declared.members)):
            self._examine(part, resolver, findings)
        self._together(declared, findings)
        self.compiler.shared(findings)
        for key in declared.keys("HostSet"):
            for hosts in declared.at(key):
                findings.hostset(hosts, self.compiler.contract.rules)
        self.state.replace_findings((), packed(findings.by_owner))

    def _projects(self, files: Iterable[SourceFile]) -> Owners:
        found: list[tuple[str, Owner]] = []
        for file in files:
            if not self.reader.only_hosts(file):
                rows = list(projects(self.reader.raw(file)))
                self.state.replace_projects(file.path, owner_rows(rows))
                found += rows
        return Owners(found)

    def _shared(self, files: Iterable[SourceFile], owners: Owners) -> None:
        """Everything but hosts, and files with problems."""
        for file in files:
            if self.reader.only_hosts(file) and not (owners and owners.of(file.path)):
                continue
            parsed = self.reader.of(file, owners)
            if parsed.problems or parsed.unknown or parsed.broken:
                self.state.replace_bad(file.path, pack_parsed(parsed))
            self.state.put((place_of(m, file.blob_id), HostRow(open=m.kind in WHOLE)) for m in parsed.manifests if m.kind != "Host")

    def _hosts(self, files: Iterable[SourceFile], owners: Owners, members: Members) -> Iterator[tuple[Place, Manifest]]:
        for file in files:
            if file.problem is None:
                parsed = self.reader.of(file, owners)
                yield from ((place, manifest) for place, manifest in places(parsed, file.blob_id, members) if manifest.kind == "Host")

    def _examine(self, part: Sequence[tuple[Place, Manifest]], resolver: Resolver, findings: Findings) -> None:
        looked: list[tuple[Place, Manifest, Resolution | None, str | None]] = []
        for place, manifest in part:
            try:
                looked.append((place, manifest, resolver.resolution(manifest), None))
            except Unresolved as found:
                findings.unresolved(place.ref, found)
                looked.append((place, manifest, None, found.message))
        count("hosts_resolved", len(looked))
        fleet = _fleet(resolver.catalog)
        hosts = [resolution.host for _, _, resolution, _ in looked if resolution]
        good = iter(self.visit.visit(fleet.name if fleet else "", hosts, (), 0))
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


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while part := list(islice(left, CHUNK)):
        yield part
