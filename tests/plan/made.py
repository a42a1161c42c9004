"""Cases, resources and records in one line each, for the tests of planning."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.plan.build import Frame
from reconciler.plan.decide import Case
from reconciler.plan.guard import GuardRules
from reconciler.types.canonical import digest
from reconciler.types.change import Risk
from reconciler.types.kind import Kind
from reconciler.types.observation import Absent, Observation, Present, Proposed, ProposedField, Unknown
from reconciler.types.origin import Origin
from reconciler.types.resource import Dependency, OnDelete, Recorded, Resource, Rules

AT = 1_000_000.0
DISK = Kind(name="disk", order=1, replace_on=("/size",), risks={"/mode": Risk.REBOOT}, renews=("/generation",))
FILE = Kind(name="file", order=2, destroys=False)
ROLE = Kind(name="role", order=3, engine=True, deletable=False, destroys=False)
KINDS = {("d", kind.name): kind for kind in (DISK, FILE, ROLE)}
A, B, C = "d/disk/t/a", "d/disk/t/b", "d/disk/t/c"
UNKNOWN = Unknown(code="unreachable", reason="no answer", at=AT)
ABSENT = Absent(at=AT)


def rules(*needs: str, lifetime: bool = False, **more: Any) -> Rules:
    return Rules(tenant="t", depends_on=tuple(Dependency(address=a, lifetime=lifetime) for a in needs), **more)


def resource(where: str, spec: Mapping[str, Any], of: Rules | None = None, **more: Any) -> Resource:
    group = f"host/t/{where.rpartition('/')[2]}"
    return Resource(address=where, spec=spec, rules=of or rules(), group=group, origin=Origin(path="f.yaml", line=3, column=1), **more)


def recorded(where: str, spec: Mapping[str, Any], of: Rules | None = None) -> Recorded:
    group = f"host/t/{where.rpartition('/')[2]}"
    return Recorded(
        address=where, source="s", digest=digest(spec), rules=of or rules(), group=group, external_id="", observed_digest="", commit="c0"
    )


def present(spec: Mapping[str, Any]) -> Present:
    return Present(spec=spec, digest=digest(spec), at=AT)


def proposed(*paths: str) -> Proposed:
    fields = tuple(ProposedField(path=path, before=1, after=2) for path in paths)
    return Proposed(fields=fields, digest=digest([f.path for f in fields]), at=AT)


def case(
    where: str = A,
    *,
    desired: Mapping[str, Any] | Resource | None = None,
    record: Mapping[str, Any] | Recorded | None = None,
    seen: Observation | Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
    **more: Any,
) -> Case:
    """A case from plain specifications; without `base` there is no base commit."""
    want = resource(where, desired) if isinstance(desired, dict) else desired
    old = recorded(where, record) if isinstance(record, dict) else record
    made = Case(
        address=where,
        kind=KINDS["d", where.split("/")[1]],
        observation=present(seen) if isinstance(seen, dict) else seen,
        desired=want,  # type: ignore[arg-type]
        recorded=old,  # type: ignore[arg-type]
        recorded_spec=record if isinstance(record, dict) else None,
        base=resource(where, base) if base is not None else None,
        base_known=base is not None,
    )
    return replace(made, **more)


def frame(**more: Any) -> Frame:
    said: dict[str, Any] = {
        "source": "s", "scope": "", "commit": "c1", "base": None, "created_at": AT, "expires_at": AT + 60, "kinds": KINDS,
        "rules": GuardRules(), "counts": {}, "hosts": 1,
    }  # fmt: skip
    return Frame(**(said | more))


__all__ = [
    "ABSENT",
    "AT",
    "DISK",
    "FILE",
    "KINDS",
    "ROLE",
    "UNKNOWN",
    "A",
    "B",
    "C",
    "OnDelete",
    "case",
    "frame",
    "present",
    "proposed",
    "recorded",
    "resource",
    "rules",
]
