"""A plan arranged for reading: hosts with the same changes folded into one, the destructive ones first. Pure; every rendering starts here."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reconciler.gate.approvals import Missing
from reconciler.types.canonical import canonical
from reconciler.types.change import MISSING, REMOVALS, Action, Cause, Change, FieldChange, Risk
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred, Plan
from reconciler.types.reads import Read, Reads
from reconciler.types.resource import parts
from reconciler.types.values import KnownAfter, Secret, redacted, secrets_in

SIGNS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "±",
    Action.DELETE: "-",
    Action.RUN: "»",
    Action.MOVE: ">",
    Action.ADOPT: "=",
    Action.FORGET: "o",
    Action.RECORD: ".",
}


OLD_S = 120.0
"""Observations older than this are told with the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Manifests with the same changes; `changes` are those of the first of `groups`."""

    groups: tuple[str, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredFold:
    """Resources put off for one reason."""

    code: str
    reason: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """How many hosts are wanted, how many the commit reaches, and how many change (those that go, too), stay as they are, or are put off whole."""

    all: int
    reached: int
    changed: int
    unchanged: int
    unknown: int


@dataclass(frozen=True, kw_only=True)
class View:
    """`where` tells which place in the repository set a field of a change; `diff` gives the text of a file's difference, or nothing; `grants` says who
    gains (`+ `) and loses (`- `) what by a change of who may do what; `approvals` are those that are missing, and `next` what to do with the plan;
    `drift`: it is about what has drifted alone.
    """

    plan: Plan
    where: Callable[[Change, FieldChange], Origin | None] = lambda change, item: None
    diff: Callable[[Change], str] = lambda change: ""
    now: float = 0.0
    names: Mapping[str, str] = field(default_factory=dict)
    grants: Callable[[Change], Sequence[str]] = lambda change: ()
    approvals: Sequence[Missing] = ()
    next: str = ""
    drift: bool = False

    @cached_property
    def by_action(self) -> dict[str, int]:
        """How many changes of each action."""
        found = Counter(change.action for change in self.plan.changes)
        return {action.value: found[action] for action in Action if found[action]}

    @cached_property
    def by_cause(self) -> dict[str, int]:
        """How many changes have each cause."""
        found = Counter(cause for change in self.plan.changes for cause in change.causes)
        return {cause.value: found[cause] for cause in Cause if found[cause]}

    @cached_property
    def destructive(self) -> tuple[Change, ...]:
        """What is lost or reinstalled; shown first and never folded away."""
        return tuple(c for c in self.plan.changes if c.risk & {Risk.DESTRUCTIVE, Risk.REINSTALL, Risk.REBOOT})

    @cached_property
    def access(self) -> tuple[str, ...]:
        """Who gains and loses what; never folded away."""
        return tuple(line for change in self.plan.changes if Risk.ACCESS in change.risk for line in self.grants(change))

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The hosts that something changes for."""
        return frozenset(change.group for change in self.plan.changes if change.group.startswith("host/"))

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """All changes, in the order of the names of their manifests."""
        return folds(self.plan.changes)

    @cached_property
    def parted(self) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
        """What the commit causes, be it in part, and what was there before it: drift, what is pending, other inputs."""
        own = tuple(c for c in self.plan.changes if Cause.COMMIT in c.causes)
        return own, tuple(c for c in self.plan.changes if Cause.COMMIT not in c.causes)

    @cached_property
    def numbers(self) -> Hosts:
        """How many hosts there are, and how they stand."""
        groups: dict[str, bool] = {}
        for change in self.plan.changes:
            if change.group.startswith("host/"):
                groups[change.group] = groups.get(change.group, True) and change.action in REMOVALS
        unknown = {item.group for item in self.plan.deferred if item.group.startswith("host/")} - groups.keys()
        staying = len(groups) - sum(groups.values())
        own = {change.group for change in self.parted[0] if change.group.startswith("host/")}
        unchanged = max(0, self.plan.hosts - staying - len(unknown))
        return Hosts(all=self.plan.hosts, reached=len(own), changed=len(groups), unchanged=unchanged, unknown=len(unknown))

    @cached_property
    def deferred(self) -> tuple[DeferredFold, ...]:
        """What is put off, by reason."""
        same: dict[tuple[str, str], list[Deferred]] = {}
        for item in self.plan.deferred:
            same.setdefault((item.code, item.reason), []).append(item)
        return tuple(
            DeferredFold(code=code, reason=reason, addresses=tuple(item.address for item in items))
            for (code, reason), items in same.items()
        )

    @property
    def verdict(self) -> str:
        """The plan in one line."""
        plan = self.plan
        age = self.now - plan.observed_from if plan.observed_from is not None else 0.0
        return verdict(
            refused=any(guard.refuses for guard in plan.guards),
            changes=bool(plan.changes),
            deferred=bool(plan.deferred),
            complete=plan.complete,
            waits=bool(self.approvals),
            age=age,
            drift=self.drift,
        )


def verdict(*, refused: bool, changes: bool, deferred: bool, complete: bool, waits: bool, age: float = 0.0, drift: bool = False) -> str:
    """A plan in one line. `waits`: for approval; `age`: of the oldest observation that it relies on, in seconds."""
    if refused:
        return "a guard refuses this plan: nothing will be applied"
    if changes:
        part = "" if complete else " in part"
        once = " once it is approved" if waits else ""
        what = "what is put off" if deferred else "the problems in the repository"
        return f"can be applied{part}{once}" + ("" if complete else f": see {what}")
    seen = f", as last seen up to {duration(age)} ago (--refresh looks again)" if age >= OLD_S else ""
    if not complete:
        return "nothing can be done now: see what is put off"
    return "nothing has drifted" if drift else f"nothing to do: the fleet is as the commit wants it{seen}"


def folds(changes: Iterable[Change]) -> tuple[Fold, ...]:
    """Changes by manifest; of manifests whose changes read the same only the first one's."""
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.group, []).append(change)
    said = Reads()
    same: dict[Read, list[str]] = {}
    for group in sorted(groups):
        same.setdefault(said.manifest(group, groups[group]), []).append(group)
    return tuple(Fold(groups=tuple(names), changes=tuple(groups[names[0]])) for names in same.values())


def shown(value: object, most: int = 80) -> str:
    """A value on one line, redacted by type; longer ones are cut."""
    if value is MISSING:
        return "(nothing)"
    if isinstance(value, Secret):
        return f"(secret {value.ref})"
    if isinstance(value, KnownAfter):
        return f"(known after {value.address})"
    if isinstance(value, str):
        text = value.encode("unicode_escape").decode() if not value.isprintable() else value
        text = f'"{text}"'
    else:
        text = canonical(redacted(value)).decode()
    return text if len(text) <= most else f"{text[: most - 3]}..."


def meaning(address: str, action: str) -> str:
    """What a change that loses something does to a machine, where its name does not say it; else empty."""
    driver, kind, *place = parts(address)
    if (driver, kind) != ("netboot", "install"):
        return ""
    kept = f"octofleet adopt {'/'.join(place)} --reason WHY keeps one that is installed already"
    return {
        "create": f"the machine is wiped and installed for the first time, as far as is known; {kept}",
        "update": "the machine is wiped and installed again",
        "record": "nothing is installed: the machine has this generation already, as is known",
    }.get(action, "")


def previous(item: FieldChange) -> object:
    """What a field changes from: as seen, or where nothing was seen as recorded, unless that would say that it changes to itself: then it is gone."""
    return item.before if item.before is not MISSING or item.recorded == item.after else item.recorded


def difference(before: object, after: object) -> str:
    """From one value to another on one line; of two lists of plain values only what comes and goes."""
    return ", ".join(come_and_gone(before, after)) or " -> ".join(pair(before, after))


def pair(before: object, after: object) -> tuple[str, str]:
    """Two values, each on one line. What a secret takes the place of is not shown, for it may be that secret in the clear."""
    return "(not shown)" if hides(before, after) else shown(before), shown(after)


def hides(before: object, after: object) -> bool:
    """Whether one value may be in the clear what is a secret in the other."""
    return before is not MISSING and sum(1 for _ in secrets_in(before)) < sum(1 for _ in secrets_in(after))


def come_and_gone(before: object, after: object) -> list[str]:
    """What leaves (`- `) and comes (`+ `) from one list of plain values to another; nothing for other values."""
    if not isinstance(before, list) or not isinstance(after, list) or any(isinstance(item, dict | list) for item in [*before, *after]):
        return []
    return [f"- {shown(item)}" for item in before if item not in after] + [f"+ {shown(item)}" for item in after if item not in before]


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A span of time as people say it."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
