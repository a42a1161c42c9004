"""Who is shown each host that a compilation looks at: planning compares it with the record there, so that no host has to be kept.

In: resolved hosts, in chunks. Out: what the index is to keep of each. A `Visitor` does what it likes besides; compiling does not depend on it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciler.index.state import Place
from reconciler.types.host import ResolvedHost


@dataclass(frozen=True, slots=True, kw_only=True)
class Visited:
    """What a visitor says of a host: further inputs that its resources depend on, and whether they may differ from the record."""

    inputs: frozenset[str] = frozenset()
    open: bool = True


Changed = frozenset[str] | None
"""The top-level names of a host's values that may differ from those in the compiled tree; None: any."""


class Visitor(Protocol):
    """Is shown hosts in chunks, each host once."""

    def visit(self, fleet: str, hosts: Sequence[ResolvedHost], changed: Sequence[Changed], whole: int) -> Sequence[Visited]:
        """Something of each host. `fleet`: the Fleet's name; `changed`: what may have changed of each (nothing: anything); `whole`: how many hosts
        there will be in all chunks, as far as is known."""

    def alike(
        self, fleet: str, old: ResolvedHost, new: ResolvedHost, changed: frozenset[str], places: Sequence[Place], whole: int
    ) -> Collection[str]:
        """Is shown one host, as it was and as it is, in place of all that differ from their former selves in the same values, which they take as they are
        from the same layers. Gives the groups that need not be shown one by one."""


class Silent:
    """The visitor that has nothing to say."""

    def visit(self, fleet: str, hosts: Sequence[ResolvedHost], changed: Sequence[Changed], whole: int) -> Sequence[Visited]:
        """Nothing."""
        del fleet, changed, whole
        return [Visited()] * len(hosts)

    def alike(
        self, fleet: str, old: ResolvedHost, new: ResolvedHost, changed: frozenset[str], places: Sequence[Place], whole: int
    ) -> Collection[str]:
        """All have to be looked at: they may have problems."""
        del fleet, old, new, changed, places, whole
        return ()


SILENT = Silent()
