"""Changes as policies see them: those that look the same are one group, and the plan is numbers. Pure.

A group's values are a function of what it was folded by, so that judging a group judges each of its changes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from operator import itemgetter
from typing import Any

from reconciler.types.canonical import digest_bytes, pack
from reconciler.types.change import MISSING, PLANNED, REMOVALS, Action, Cause, Change, FieldChange, Risk
from reconciler.types.pointer import escape
from reconciler.types.resource import parts
from reconciler.types.values import redacted

Sides = Callable[[Change], tuple[object, object]]
"""The specification of a change's resource as recorded and as desired; each may be `MISSING`."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Changes that look the same, and the whole specifications of one of them, where its fields do not tell."""

    changes: Sequence[Change]
    whole: tuple[object, object] | None

    @cached_property
    def first(self) -> Change:
        """Of its changes, the first by address."""
        return min(self.changes, key=lambda change: change.address)

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The hosts that it is about."""
        return frozenset(change.group for change in self.changes if change.group.startswith("host/"))

    @property
    def tenants(self) -> frozenset[str]:
        """The tenant that it is in, and the one that it comes from."""
        return frozenset({self.first.rules.tenant, _moved_from(self.first)})

    @cached_property
    def values(self) -> dict[str, Any]:
        """The variables `change.*`, but for the fields."""
        change = self.first
        driver, kind, _, _ = parts(change.address)
        return {
            "change.action": change.action.value,
            "change.driver": driver,
            "change.kind": kind,
            "change.tenant": change.rules.tenant,
            "change.movedFrom": _moved_from(change),
            "change.causes": _names(change.causes),
            "change.risk": sorted(map(str, change.risk)),
            "change.protected": change.rules.protect,
            "change.count": len(self.changes),
        }

    @property
    def fields(self) -> list[dict[str, Any]]:
        """The variable `change.fields`: every single value that comes, goes or changes, by path. Made anew each time: it may be large."""
        found = [leaf for item in self.first.fields for leaf in _leaves(item.path, _before(item), item.after, _names(item.causes))]
        if self.whole is not None:
            found += _leaves("", *self.whole, self.values["change.causes"])
        return sorted(found, key=itemgetter("path"))


def folded(changes: Iterable[Change], sides: Sides) -> list[Group]:
    """The groups, by the first address of each."""
    found: dict[tuple[object, ...], list[Change]] = {}
    forms: dict[int, str] = {}
    for change in changes:
        if id(change.fields) not in forms:
            forms[id(change.fields)] = _form(change.fields)
        driver, kind, *_ = parts(change.address)
        key = (
            change.action, driver, kind, change.rules.tenant, change.rules.protect, _moved_from(change), change.causes, change.risk,
            forms[id(change.fields)], _digest(_whole(change, sides)),
        )  # fmt: skip
        found.setdefault(key, []).append(change)
    groups = [Group(changes=same, whole=_whole(same[0], sides)) for same in found.values()]
    return sorted(groups, key=lambda group: group.first.address)


def _whole(change: Change, sides: Sides) -> tuple[object, object] | None:
    """The specifications before and after, for a change that comes or goes as a whole."""
    if change.fields and change.action is not Action.RUN:
        return None
    recorded, desired = sides(change)
    if change.fields and recorded is not MISSING:
        return None
    return MISSING if change.action is Action.CREATE else recorded, MISSING if change.action in REMOVALS else desired


def _digest(whole: tuple[object, object] | None) -> str:
    return "" if whole is None else digest_bytes(pack([_side(value) for value in whole]))


def _form(fields: Sequence[FieldChange]) -> str:
    """What is equal for fields that policies see alike: the text that keeps what a secret refers to."""
    if not fields:
        return ""
    return digest_bytes(pack([(item.path, _names(item.causes), _side(_before(item)), _side(item.after)) for item in fields]))


def _side(value: object) -> tuple[object, ...]:
    return () if value is MISSING else (value,)


@cache
def _names(causes: frozenset[Cause]) -> list[str]:
    return sorted(map(str, causes))


def _before(item: FieldChange) -> object:
    return item.recorded if item.before is MISSING else item.before


def _moved_from(change: Change) -> str:
    """The tenant that a moved resource comes from."""
    return parts(change.moved_from)[2] if change.moved_from else ""


def _leaves(path: str, before: object, after: object, causes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The single values that differ, lists item by item; where only one side can be taken apart, all of both."""
    old, new = _children(before), _children(after)
    if old and new:
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _leaves(f"{path}/{escape(str(key))}", old.get(key, MISSING), new.get(key, MISSING), causes)
    elif old or new or before is MISSING or after is MISSING:
        for name, value in (("before", before), ("after", after)):
            if value is not MISSING:
                yield from ({"path": where, name: redacted(leaf), "causes": causes} for where, leaf in _flat(path, value))
    elif pack(before) != pack(after):
        yield {"path": path, "before": redacted(before), "after": redacted(after), "causes": causes}


def _flat(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Every single value in a tree."""
    if children := _children(value):
        for key, child in children.items():
            yield from _flat(f"{path}/{escape(key) if isinstance(key, str) else key}", child)
    else:
        yield path, value


def _children(value: object) -> dict[Any, object]:
    """What stands in a map or list; nothing for a single value, a secret among them."""
    if isinstance(value, dict):
        return value
    return dict(enumerate(value)) if isinstance(value, list | tuple) else {}


def numbers(groups: Sequence[Group], hosts: int, at: float) -> dict[str, Any]:
    """The variables `plan.*` over some groups. `hosts`: in the whole fleet; `at`: seconds since the epoch. Names without a change count 0."""
    changed = frozenset[str]().union(*(group.hosts for group in groups))
    total = {"byAction": dict.fromkeys(map(str, PLANNED), 0), "byCause": dict.fromkeys(map(str, Cause), 0)}
    total |= {"byRisk": dict.fromkeys(map(str, Risk), 0), "byTenant": {}}
    by_risk: dict[str, set[str]] = {str(risk): set() for risk in Risk}
    for group in groups:
        change, number = group.first, len(group.changes)
        names = {"byAction": [change.action], "byCause": change.causes, "byRisk": change.risk, "byTenant": [change.rules.tenant]}
        for total_name, found in names.items():
            for name in found:
                total[total_name][str(name)] = total[total_name].get(str(name), 0) + number
        for risk in change.risk:
            by_risk[str(risk)] |= group.hosts
    return {
        "plan.at": datetime.fromtimestamp(at, UTC),
        "plan.changes": sum(len(group.changes) for group in groups),
        "plan.hosts": hosts,
        "plan.hostsChanged": len(changed),
        "plan.share": len(changed) / hosts if hosts else 1.0,
        "plan.hostsByRisk": {risk: len(found) for risk, found in by_risk.items()},
        **{f"plan.{name}": found for name, found in total.items()},
    }
