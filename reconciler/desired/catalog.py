"""The manifests of a commit by identity, and the lookups that references make. Pure: where manifests come from is passed in.

Each is looked up when it is first asked for and then remembered, so that a catalog of a large fleet holds what one plan needs.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Protocol

from reconciler.desired.manifest import ANY, Manifest, Ref, show


class Declared(Protocol):
    """Everything that is declared, by identity as text (`role/web`, `role/shop/web`)."""

    def at(self, key: str) -> Sequence[Manifest]:
        """All manifests of one identity: more than one is a mistake."""

    def keys(self, kind: str) -> Iterable[str]:
        """The identities of a kind, each once, in any order."""

    def choosing(self) -> Iterable[str]:
        """The identities of Roles that choose their hosts, each once, in any order."""


class Catalog:
    """`unknown`: identities that are there but wrong; `broken`: a file could not be read, so anything may be in it; `mentioned`: the names in
    such files. `asked` collects what was looked for, found or not: the inputs of whatever is being resolved.
    """

    def __init__(
        self, declared: Declared, *, unknown: frozenset[Ref] = frozenset(), broken: bool = False, mentioned: frozenset[str] = frozenset()
    ) -> None:
        self.declared, self.unknown, self.broken, self.mentioned = declared, unknown, broken, mentioned
        self.asked: set[str] = set()
        self.known: dict[Ref, Manifest | None] = {}
        self.kinds: dict[str, tuple[Manifest, ...]] = {}
        self._choosing: tuple[Manifest, ...] | None = None

    def get(self, ref: Ref) -> Manifest | None:
        """The one manifest of this identity; None if there is none, or two: neither wins by its file's name."""
        if ref not in self.known:
            found = self.declared.at(show(ref))
            self.known[ref] = found[0] if len(found) == 1 else None
        return self.known[ref]

    def of(self, kind: str) -> tuple[Manifest, ...]:
        """All of a kind, sorted by tenant and name."""
        if kind not in self.kinds:
            refs = sorted(ref_of(kind, key) for key in self.declared.keys(kind))
            self.kinds[kind] = tuple(found for ref in refs if (found := self.get(ref)) is not None)
        return self.kinds[kind]

    @property
    def choosing(self) -> tuple[Manifest, ...]:
        """The Roles that choose their hosts, sorted by name, a tenant's own before the shared one of that name."""
        if self._choosing is None:
            found = (
                role for key in self.declared.choosing() if (role := self.get(ref_of("Role", key))) is not None and "match" in role.spec
            )
            self._choosing = tuple(sorted(found, key=lambda role: (role.name, not role.tenant, role.tenant)))
        return self._choosing

    def find(self, kind: str, tenant: str, name: str) -> Manifest | None:
        """What a bare reference from this tenant means: the tenant's own, else the shared one."""
        self.asked.add(input_of(kind, name))
        return (self.get((kind, tenant, name)) if tenant else None) or self.get((kind, "", name))

    def is_unknown(self, kind: str, tenant: str, name: str) -> bool:
        """Whether such a manifest is there but wrong, so that it is neither known nor absent."""
        nameless = {(kind, "", ""), (kind, tenant, "")}
        return (
            name in self.mentioned
            or not self.unknown.isdisjoint(nameless)
            or self.is_wrong((kind, tenant, name))
            or self.is_wrong((kind, "", name))
        )

    def is_wrong(self, ref: Ref) -> bool:
        """Whether this very identity is declared wrongly, or more than once."""
        return ref in self.unknown or len(self.declared.at(show(ref))) > 1

    def near(self, kind: str, tenant: str, name: str) -> str:
        """A hint for a name that is not there: the nearest that is, or all there are."""
        refs = (ref_of(kind, key) for key in self.declared.keys(kind))
        names = sorted({ref[2] for ref in refs if ref[1] in ("", tenant)})
        close = get_close_matches(name, names, n=1)
        if close:
            return f"did you mean {close[0]}?"
        return f"there are: {', '.join(names[:8])}" if names else f"the repository has no {kind} that this tenant may use"


def ref_of(kind: str, key: str) -> Ref:
    """The identity that a key of this kind is the text of."""
    _, _, rest = key.partition("/")
    tenant, _, name = rest.rpartition("/")
    return kind, tenant, name


def input_of(kind: str, name: str) -> str:
    """What a reference asks for, as the name of an input: a bare name means a tenant's own manifest or the shared one."""
    return f"{kind.lower()}/{name}"


CHOOSING = input_of("Role", ANY)
"""The input of a host that is every Role's `match`."""
