"""A tree seen as the compiled tree of the index and what differs from it. Only what the difference reaches is looked at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from reconciler.desired.catalog import CHOOSING
from reconciler.desired.clash import changed_identities, clashes
from reconciler.desired.compiler import OWN, Compiler, chunks
from reconciler.desired.declared import Declarations, chooses
from reconciler.desired.desired import Desired, Hosts, fleet_of
from reconciler.desired.difference import CONTENT, Difference, owners_of
from reconciler.desired.findings import SHARED, Findings, packed, unpacked
from reconciler.desired.foreign import owner_rows
from reconciler.desired.layers import Unresolved
from reconciler.desired.manifest import Manifest, Parsed, show
from reconciler.desired.packed import unpack_parsed
from reconciler.desired.resolve import SECRET, Resolution, Resolver
from reconciler.desired.visitor import SILENT, Changed, Visited, Visitor
from reconciler.index.state import CHOOSES, HostRow, Place
from reconciler.stages import count, stage
from reconciler.types.rule import is_whole

POLICY = "policy/"
NOT_ALIKE = frozenset({"interfaces", "domain", "fqdn", "disk", "protect", "templates"})
"""Values that a host's own are combined with, or that decide more than themselves."""


class View:
    """What a tree wants, as the compiled tree and a difference held in memory; with `settle` the index is brought to it."""

    def __init__(self, compiler: Compiler, found: Difference, visit: Visitor, *, settle: bool = False) -> None:
        self.compiler, self.found, self.visit, self.settle = compiler, found, visit, settle
        self.state = compiler.state
        self.declared = Declarations(self.state, compiler.reader, found.owners, found.gone, found.come)
        self.bad = self._bad()
        self.catalog = compiler.catalog(self.declared, self.bad)
        self.findings = Findings(self.catalog, compiler.text)
        self.resolver = self._resolver()
        self.former = self._former()
        fleet = fleet_of(self.catalog)
        self.fleet = fleet.name if fleet else ""
        self.before: dict[str, frozenset[str]] = {}
        self.after: dict[str, frozenset[str]] = {}
        self.blocked: dict[str, str] = {}

    def _resolver(self) -> Resolver:
        """With all that was merged before for the same shared manifests: where only hosts differ, they are those of the compiled tree."""
        index, found, catalog = self.compiler.index, self.found, self.catalog
        made = Resolver(catalog=catalog, rules=self.compiler.contract.rules, token=self.compiler.token)
        moved = any(not key.startswith(("host/", "hostset/")) for key in found.come)
        if found.sides or moved or found.bad or any(name.startswith(SECRET) for name in found.names):
            return made
        if index.kept[0] != self.state.generation:
            index.kept = (self.state.generation, (catalog.known, catalog.kinds, made.bases, made.nets, made.unions))
        catalog.known, catalog.kinds, bases, nets, unions = index.kept[1]
        return replace(made, bases=bases, nets=nets, unions=unions)

    def _former(self) -> Resolver | None:
        """What resolved the compiled tree; None where more differs than layers."""
        names = self.found.names
        if self.settle or self.bad or not self.found.sides or CHOOSING in names:
            return None
        if any(name.startswith(("network/", SECRET)) for name in names):
            return None
        if self.state.uses(name for name in names if name.startswith(CONTENT)):
            return None
        return View(self.compiler, Difference(owners=owners_of(self.state)), SILENT).resolver

    def _bad(self) -> dict[str, Parsed]:
        """What files with problems contribute, by path."""
        rows = self.state.bad() | {path: body or b"" for path, body in self.found.bad.items()}
        return {path: unpack_parsed(path, body) for path, body in sorted(rows.items()) if body}

    def desired(self) -> Desired:
        """Look at what the difference reaches, and tell everything."""
        found, number = self.found, self._number()
        known = self.state.blocked()
        reached = {} if found.empty else self._reached(known)
        with stage("alike"):
            self._alike(reached)
        with stage("hosts"):
            rows = self._examine(reached)
        self._clash({group for group in reached if group in known})
        policies = found.places_of(POLICY)
        for policy in self.catalog.of("Policy") if policies else ():
            if policy.key in policies:
                self.findings.policy(policy)
        recomputed = {*reached, *found.direct, *found.sets, *policies, *self.findings.by_owner, *self.after}
        if found.sides or found.sets or found.bad:
            recomputed.add(SHARED)
            self.compiler.shared(self.findings)
        for key in found.sets:
            for hosts in self.declared.at(key):
                self.findings.hostset(hosts, self.compiler.contract.rules)
        kept = [(owner, problem) for owner, problem in unpacked(self.state.findings()) if owner not in recomputed]
        if self.settle and not found.empty:
            self._settle(rows, recomputed)
        problems = {problem for parsed in self.bad.values() for problem in parsed.problems} | {problem for _, problem in kept}
        problems.update(problem for items in self.findings.by_owner.values() for problem in items)
        blocked = {group: why for group, why in known.items() if group not in reached and self.declared.places(group)} | self.blocked
        blocked |= {show(ref): "its document has problems" for ref in self.catalog.unknown if ref[0] == "Host"}
        wrong = {owner for owner, _ in kept} | self.findings.by_owner.keys()
        blocked |= {owner: "its document has problems" for owner in wrong if owner.startswith(POLICY)}
        whole = {key for key in found.sides if is_whole(key)}
        return Desired(
            catalog=self.catalog,
            declarations=self.declared,
            resolver=self.resolver,
            hosts=Hosts(self.declared, number),
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
        for part in chunks(reached.items()):
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
            for group in self.visit.alike(self.fleet, old.host, new.host, changed, here, whole):
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
        sets = state.inputs_of(sorted({place.ref for place in (*fresh, *found.gone)}))
        state.remove(found.gone)
        come = [(place, manifest) for items in found.come.values() for place, manifest in items if place not in fresh]
        known = {place: HostRow(open=True) if place.ref in found.sides else old.get(place.ref, HostRow(open=True)) for place, _ in come}
        roles = {place: CHOOSES if chooses(manifest) else "" for place, manifest in come if manifest.kind == "Role"}
        state.put((place, row._replace(identity=roles.get(place, row.identity))) for place, row in known.items())
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
        state.drop_unused(sets)
