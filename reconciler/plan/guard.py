"""Guards: what forbids a whole plan. Pure; the rules in force are the recorded ones, so loosening a rule and using it cannot be one change."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

from reconciler.types.change import Action, Change, Risk
from reconciler.types.kind import Kind
from reconciler.types.plan import GuardVerdict
from reconciler.types.resource import Recorded, parts

Kinds = Mapping[tuple[str, str], Kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRules:
    """The Fleet's guards. Percent of what is recorded of a kind; the floor is how many removals are always fine."""

    max_delete_percent: float = 10
    max_delete_floor: int = 3
    allow_empty: bool = False
    allow_tenant_delete: bool = False

    @classmethod
    def of(cls, fleet_spec: Mapping[str, Any]) -> "GuardRules":
        """From the `guards` of a Fleet's specification; what is not said there is the default."""
        said = fleet_spec.get("guards", {})
        names = {
            "maxDeletePercent": "max_delete_percent",
            "maxDeleteFloor": "max_delete_floor",
            "allowEmpty": "allow_empty",
            "allowTenantDelete": "allow_tenant_delete",
        }
        return cls(**{name: said[key] for key, name in names.items() if key in said})


def judge(
    rules: GuardRules,
    changes: Sequence[Change],
    recorded: Mapping[str, Recorded],
    counts: Mapping[tuple[str, str], int],
    hosts: int,
    kinds: Kinds,
) -> tuple[GuardVerdict, ...]:
    """Every guard's verdict that refuses.

    `recorded` holds the records that the changes touch; `counts` how many resources of each driver and kind the source has recorded
    (asked for as little as can be: counting costs); `hosts` how many hosts are desired in the whole source.
    """
    verdicts = [
        _protected(changes, recorded),
        *_deletes(rules, changes, counts, kinds),
        _empty(rules, counts, hosts),
        _tenants(rules, changes),
    ]
    return tuple(verdict for verdict in verdicts if verdict is not None)


def _protected(changes: Sequence[Change], recorded: Mapping[str, Recorded]) -> GuardVerdict | None:
    hit = [
        change
        for change in changes
        if Risk.DESTRUCTIVE in change.risk and change.address in recorded and recorded[change.address].rules.protect
    ]
    if not hit:
        return None
    groups = sorted({change.group for change in hit})
    return GuardVerdict(
        guard="protected",
        refuses=True,
        message=f"{_names(groups)} {'is' if len(groups) == 1 else 'are'} protected and would be deleted or replaced",
        hint="restore the manifest, or first merge a commit that sets protect: false, apply it, and delete after that",
        addresses=tuple(sorted(change.address for change in hit)),
    )


def _removed(change: Change, kinds: Kinds) -> bool:
    driver, kind, *_ = parts(change.address)
    if not kinds[driver, kind].destroys:
        return False
    return change.action in (Action.DELETE, Action.REPLACE, Action.FORGET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many resources of a kind a plan removes, of how many that are recorded (0: none is), and how many may be."""

    driver: str
    kind: str
    number: int
    known: int
    limit: int

    def __str__(self) -> str:
        what = f"{self.driver}/{self.kind} resources"
        return f"{self.number} of {self.known} recorded {what} ({self.number / self.known:.0%})" if self.known else f"{self.number} {what}"


def shares(rules: GuardRules, changes: Sequence[Change], counts: Mapping[tuple[str, str], int], kinds: Kinds) -> tuple[Share, ...]:
    """What the changes remove, by driver and kind, against what is allowed."""
    removed = Counter(parts(change.address)[:2] for change in changes if _removed(change, kinds))
    found = []
    for (driver, kind), number in sorted(removed.items()):
        known = counts.get((driver, kind), 0)
        limit = max(rules.max_delete_floor, floor(known * rules.max_delete_percent / 100))
        found.append(Share(driver=driver, kind=kind, number=number, known=known, limit=limit))
    return tuple(found)


def _deletes(rules: GuardRules, changes: Sequence[Change], counts: Mapping[tuple[str, str], int], kinds: Kinds) -> list[GuardVerdict]:
    return [
        GuardVerdict(
            guard=f"max-deletes:{share.driver}/{share.kind}",
            refuses=True,
            message=f"{share} would be removed; {share.limit} are allowed ({rules.max_delete_percent:g} %, at least {rules.max_delete_floor})",
            hint="remove fewer at once, or first merge and apply a commit that raises guards.maxDeletePercent in the Fleet",
            addresses=tuple(
                sorted(c.address for c in changes if _removed(c, kinds) and parts(c.address)[:2] == (share.driver, share.kind))
            ),
        )
        for share in shares(rules, changes, counts, kinds)
        if share.number > share.limit
    ]


def _empty(rules: GuardRules, counts: Mapping[tuple[str, str], int], hosts: int) -> GuardVerdict | None:
    if hosts or rules.allow_empty:
        return None
    known = counts.get(("fleet", "host"), 0)
    if not known:
        return None
    return GuardVerdict(
        guard="empty-desired",
        refuses=True,
        message=f"the commit has no host at all, and {known} are recorded",
        hint="check that this is the right repository and branch; to empty a fleet on purpose, first merge and apply guards.allowEmpty: true",
    )


def _tenants(rules: GuardRules, changes: Sequence[Change]) -> GuardVerdict | None:
    gone = [c for c in changes if c.address.startswith("fleet/tenant/") and c.action in (Action.DELETE, Action.FORGET)]
    if not gone or rules.allow_tenant_delete:
        return None
    return GuardVerdict(
        guard="tenant-deletion",
        refuses=True,
        message=f"{_names(sorted(change.group for change in gone))} would be removed",
        hint="restore the Tenant, or first merge and apply guards.allowTenantDelete: true in the Fleet",
        addresses=tuple(sorted(change.address for change in gone)),
    )


def _names(groups: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(groups[:most])
    return shown if len(groups) <= most else f"{shown} and {len(groups) - most} more"
