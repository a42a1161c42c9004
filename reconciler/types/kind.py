"""A kind of resource, as its driver declares it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.types.change import Risk


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of resource of a driver, as data.

    `order` sorts kinds into waves (lower first; deletes run in reverse). `engine`: the system plans natively, so that its observation is a
    proposal and its change a run. `deletable`: the driver can remove it; if not, a removed resource is forgotten. `destroys`: a delete loses
    something that a later apply does not bring back, so guards count it. A change below a pointer in `replace_on` replaces the resource; one
    below a pointer in `risks` carries that risk, and all that happens to the resource the one of the empty pointer; one below a pointer in `renews`
    voids the record of lifetime dependents without a replacement; with `begins`, so does making one, and what lives on it is absent then, whatever can
    be seen of it now. Making one that was not there carries the `create_risks`.
    `copies`: the specification of a host's resource holds values of the host as they are, below `/values` or at the top, and besides them nothing that
    differs between hosts with the same roles, templates and files; the resource has the host's own name.
    """

    name: str
    order: int
    engine: bool = False
    deletable: bool = True
    copies: bool = False
    destroys: bool = True
    replace_on: tuple[str, ...] = ()
    renews: tuple[str, ...] = ()
    risks: Mapping[str, Risk] = field(default_factory=dict)
    create_risks: frozenset[Risk] = frozenset()
    begins: bool = False
