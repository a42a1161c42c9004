"""A plan arranged for reading: hosts with the same changes folded into one, the destructive ones first. Pure; every rendering starts here."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from reconciler.gate.approvals import Missing
from reconciler.types.canonical import canonical
from reconciler.types.change import MISSING, Action, Cause, Change, FieldChange, Risk
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred, Plan
from reconciler.types.resource import parts
from reconciler.types.values import KnownAfter, Secret, redacted

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
        """Most changed hosts first in the order of their names."""
        groups: dict[str, list[Change]] = {}
        for change in self.plan.changes:
            groups.setdefault(change.group, []).append(change)
        same: dict[bytes, list[str]] = {}
        for group in sorted(groups):
            same.setdefault(_signature(group, groups[group]), []).append(group)
        return tuple(Fold(groups=tuple(names), changes=tuple(groups[names[0]])) for names in same.values())

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
        if any(verdict.refuses for verdict in plan.guards):
            return "a guard refuses this plan: nothing will be applied"
        if plan.changes:
            part = "" if plan.complete else " in part"
            once = " once it is approved" if self.approvals else ""
            what = "what is put off" if plan.deferred else "the problems in the repository"
            return f"can be applied{part}{once}" + ("" if plan.complete else f": see {what}")
        age = self.now - plan.observed_from if plan.observed_from is not None else 0.0
        seen = f", as last seen up to {duration(age)} ago (--refresh looks again)" if age >= OLD_S else ""
        if not plan.complete:
            return "nothing can be done now: see what is put off"
        return "nothing has drifted" if self.drift else f"nothing to do: the fleet is as the commit wants it{seen}"


def _signature(group: str, changes: Sequence[Change]) -> bytes:
    """Equal for manifests whose changes read the same. What only differs by the host's own name is the same."""
    name = group.rpartition("/")[2]
    said = []
    for change in changes:
        driver, kind, _, resource = parts(change.address)
        fields = [[item.path, *(_plain(value) for value in (item.before, item.after)), sorted(item.causes)] for item in change.fields]
        said.append(
            [
                driver,
                kind,
                resource.removeprefix(name),
                change.action.value,
                sorted(change.risk),
                sorted(change.causes),
                fields,
                list(change.blind_spots),
            ]
        )
    return canonical([group.partition("/")[0], said])


def _plain(value: object) -> Any:
    return {"$missing": True} if value is MISSING else value


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


def previous(item: FieldChange) -> object:
    """What a field changes from: as seen, or where nothing was seen as recorded, unless that would say that it changes to itself: then it is gone."""
    return item.before if item.before is not MISSING or item.recorded == item.after else item.recorded


def difference(before: object, after: object) -> str:
    """From one value to another on one line; of two lists of plain values only what comes and goes."""
    if isinstance(before, list) and isinstance(after, list) and not any(isinstance(item, dict | list) for item in [*before, *after]):
        parts = [f"- {shown(item)}" for item in before if item not in after] + [f"+ {shown(item)}" for item in after if item not in before]
        if parts:
            return ", ".join(parts)
    return f"{shown(before)} -> {shown(after)}"


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A span of time as people say it."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
