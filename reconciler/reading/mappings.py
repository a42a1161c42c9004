"""RoleMappings with the lines of the files that say so."""

from collections.abc import Iterable

from reconciler.errors import OctofleetError
from reconciler.granting import written
from reconciler.identity.access import RoleMapping
from reconciler.planning import compiled
from reconciler.wiring import Installation


def placed(installation: Installation, mappings: Iterable[RoleMapping], applied: tuple[str, str] | None) -> tuple[RoleMapping, ...]:
    """RoleMappings in force with the lines that say so, for those that the commit applied last (and its location) has just so, if its repository can be
    read."""
    mappings = tuple(mappings)
    if not mappings or applied is None:
        return mappings
    commit, location = applied
    try:
        repository = installation.repository(location, fetch=False)
        found = {item.name: item for item in written(compiled(installation, repository, repository.commit(commit)))}
    except OctofleetError:
        return mappings
    return tuple(found[item.name] if _same(found.get(item.name), item) else item for item in mappings)


def _same(one: RoleMapping | None, other: RoleMapping) -> bool:
    """Whether they say the same in the same order; where it stands does not count."""
    return one is not None and one.bindings == other.bindings and one.people == other.people
