"""What a view and a build share: an index, a tree to look at, and what both are read with."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

from reconciler.desired.catalog import Catalog
from reconciler.desired.contribution import Contract, Reader
from reconciler.desired.declared import Declarations
from reconciler.desired.difference import Difference, Tree, difference
from reconciler.desired.findings import Findings
from reconciler.desired.manifest import Manifest, Parsed, show
from reconciler.desired.resolve import Resolution, Token, secret_of
from reconciler.desired.visitor import Visited
from reconciler.errors import Permanent
from reconciler.index.file import Index
from reconciler.index.state import HostRow, State

T = TypeVar("T")
CHUNK = 500
OWN, LAYERS = "own:", "layers:"
"""Begin the names of what are no inputs: a top-level name that a host itself says something about, and its profile and roles."""


class Compiler:
    """An index, a tree to look at, and what both are read with."""

    def __init__(self, index: Index, tree: Tree, contract: Contract, token: Token) -> None:
        self.index, self.tree, self.contract, self.token = index, tree, contract, token
        self.state = State(index)
        self.reader = Reader(index=index, contract=contract, blob=tree.blob)
        self.digest = f"{contract.digest}:{index.schemas}"
        self.sets: dict[tuple[frozenset[str], frozenset[str], tuple[str, ...], tuple[str, ...]], int] = {}

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
        layers = (
            manifest.spec.get("profile", ""),
            *(role.name for role in resolution.host.roles),
        )  # in their order, which inputs do not have
        key = resolution.inputs, visited.inputs, layers, tuple(name for _, spec in manifest.own for name in spec)
        if key not in self.sets:
            inputs, more, _, own = key
            self.sets[key] = self.state.inputs_id(inputs | more | {LAYERS + " ".join(layers), *(OWN + name for name in own)})
        return self.sets[key]

    def finish(self, hosts: int | None) -> None:
        """The index has compiled the tree, which has so many hosts; they are counted if None."""
        self.state.replace_secrets((name, self.token(*secret_of(name))) for name in self.state.used_secrets())
        self.state.end(self.tree.id, self.digest, hosts)
        self.index.evict()


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Some at a time, so that nothing has to be held for all."""
    left = iter(items)
    while part := list(islice(left, CHUNK)):
        yield part
