"""What the RoleMappings of a commit would change before any of it is in force, and whom the first ones would lock out."""

from dataclasses import replace

from reconciler.desired.desired import Desired
from reconciler.desired.reader import positions
from reconciler.identity.access import Access, Identity, RoleMapping, role_mapping
from reconciler.types.problem import Problem, Severity

FIRST = "these are the first: whoever they do not name may do nothing from then on, an owner of the server neither"


def written(desired: Desired) -> list[RoleMapping]:
    """The RoleMappings of a commit with their lines."""
    found = []
    for manifest in desired.catalog.of("RoleMapping"):
        places = positions(manifest.path, desired.text(manifest.path))
        said = role_mapping(manifest.key, manifest.tenant, manifest.spec)
        bindings = tuple(replace(item, origin=places.origin(manifest.index, item.pointer)) for item in said.bindings)
        found.append(replace(said, bindings=bindings))
    return found


def are_first(known: Access, desired: Desired) -> bool:
    """Whether a commit has RoleMappings for a Fleet in which none is in force."""
    source = desired.fleet.name if desired.fleet is not None else ""
    return bool(source) and not known.fleets.get(source) and any(True for _ in desired.catalog.of("RoleMapping"))


def lockout(known: Access, desired: Desired, identity: Identity) -> list[Problem]:
    """A warning if the first RoleMappings of a Fleet name somebody nowhere, who may do nothing once they are applied. Errors come first: what they are
    about may be a RoleMapping."""
    if not are_first(known, desired) or any(problem.severity is Severity.ERROR for problem in desired.problems):
        return []
    bindings = [item for said in written(desired) for item in said.bindings]
    if not bindings or any(item.subject in identity.subjects for item in bindings):
        return []
    first = min(item.origin for item in bindings if item.origin is not None)
    hint = f"name {identity.name}, as super-admin in a RoleMapping without tenant, before you apply it; octofleet access --repo says who is named"
    message = f"no RoleMapping names you, {identity.name}, and {FIRST}"
    return [Problem(origin=first, code="access-first", message=message, hint=hint, severity=Severity.WARNING)]
