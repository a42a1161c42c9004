"""All manifests of a commit by identity, and the lookups that references make. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from reconciler.desired.manifest import Manifest, Parsed, Ref, show
from reconciler.types.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """`manifests` by identity; `unknown` identities that are there but wrong; `broken`: a file could not be
    read, so anything may be in it; `mentioned`: the names in such files."""

    manifests: Mapping[Ref, Manifest]
    unknown: frozenset[Ref] = frozenset()
    broken: bool = False
    mentioned: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
    by_kind: Mapping[str, tuple[Manifest, ...]] = field(default_factory=dict)

    def of(self, kind: str) -> tuple[Manifest, ...]:
        """All of a kind, sorted by tenant and name."""
        return self.by_kind.get(kind, ())

    def find(self, kind: str, tenant: str, name: str) -> Manifest | None:
        """What a bare reference from this tenant means: the tenant's own, else the shared one."""
        return self.manifests.get((kind, tenant, name)) or self.manifests.get((kind, "", name))

    def is_unknown(self, kind: str, tenant: str, name: str) -> bool:
        """Whether such a manifest is there but wrong, so that it is neither known nor absent."""
        return name in self.mentioned or not self.unknown.isdisjoint(
            {(kind, tenant, name), (kind, "", name), (kind, "", ""), (kind, tenant, "")}
        )

    def near(self, kind: str, tenant: str, name: str) -> str:
        """A hint for a name that is not there: the nearest that is, or all there are."""
        names = sorted({ref[2] for ref in self.manifests if ref[0] == kind and ref[1] in ("", tenant)})
        close = get_close_matches(name, names, n=1)
        if close:
            return f"did you mean {close[0]}?"
        return f"there are: {', '.join(names[:8])}" if names else f"the repository has no {kind} that this tenant may use"


def collect(files: Iterable[Parsed]) -> Catalog:
    """The catalog of all files. Two manifests of one identity are both unknown: neither wins by its file's name."""
    manifests: dict[Ref, Manifest] = {}
    unknown: set[Ref] = set()
    problems: list[Problem] = []
    broken = False
    mentioned: set[str] = set()
    doubles: dict[Ref, list[Manifest]] = {}
    for parsed in files:
        problems += parsed.problems
        unknown.update(parsed.unknown)
        broken = broken or parsed.broken
        mentioned |= parsed.mentioned
        for manifest in parsed.manifests:
            first = manifests.setdefault(manifest.ref, manifest)
            if first is not manifest:
                doubles.setdefault(manifest.ref, [first]).append(manifest)
    problems += _doubled(doubles)
    for ref in doubles:
        unknown.add(ref)
        del manifests[ref]
    problems += _fleets(manifests, unknown, broken)
    return Catalog(
        manifests=manifests,
        unknown=frozenset(unknown),
        broken=broken,
        mentioned=frozenset(mentioned),
        problems=tuple(problems),
        by_kind=_grouped(manifests),
    )


def _grouped(manifests: Mapping[Ref, Manifest]) -> dict[str, tuple[Manifest, ...]]:
    kinds: dict[str, list[Manifest]] = {}
    for ref in sorted(manifests):
        kinds.setdefault(ref[0], []).append(manifests[ref])
    return {kind: tuple(found) for kind, found in kinds.items()}


def _doubled(doubles: Mapping[Ref, list[Manifest]]) -> Iterator[Problem]:
    for ref, found in doubles.items():
        places = sorted(found, key=lambda manifest: manifest.origin)
        for manifest in places[1:]:
            yield Problem(
                origin=manifest.origin,
                code="duplicate-name",
                message=f"{show(ref)} is declared twice; the first is at {places[0].origin}",
                hint="rename or remove one of them",
            )


def _fleets(manifests: Mapping[Ref, Manifest], unknown: set[Ref], broken: bool) -> Iterator[Problem]:
    fleets = sorted((m for ref, m in manifests.items() if ref[0] == "Fleet"), key=lambda manifest: manifest.origin)
    for extra in fleets[1:]:
        unknown.add(extra.ref)
        yield Problem(
            origin=extra.origin,
            code="fleet-count",
            message=f"a repository has one Fleet; {fleets[0].name} is declared at {fleets[0].origin}",
            hint="merge the two into one",
        )
