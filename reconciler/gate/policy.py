"""Policies in force against a plan's changes: which of them refuse it, by which line, and why. Pure.

A policy that cannot be judged (it does not compile, fails, gives something else than true or false, takes too many steps) refuses.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reconciler.gate.expression import Expression, Failed, Invalid, activation, clauses, condition, filled
from reconciler.gate.group import Group, Sides, folded, numbers
from reconciler.types.change import Change
from reconciler.types.origin import Origin
from reconciler.types.plan import GuardVerdict
from reconciler.types.resource import parts
from reconciler.types.values import Spec

OWN = "fleet/policy/"
"""Where the addresses of policies begin. Their own changes are not judged: one that refuses everything could not be mended."""

_FIELDS, _MOST = "fields", 3

Where = Callable[[str, str, int, int], Origin | None]
"""The place in the repository of a line and column of an expression, by address of its policy and pointer; None where it is not as in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who asks for a plan. `unattended`: nobody does, the server plans by itself."""

    identity: str = ""
    unattended: bool = False

    @property
    def values(self) -> dict[str, Any]:
        """The variables `who.*`."""
        return {"who.identity": self.identity, "who.unattended": self.unattended}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Why one group does not pass. `pointer`, `line` and `column` say where the policy says so; `failed`: it could not be judged."""

    why: str
    message: str
    failed: bool
    pointer: str = "/spec/rule"
    line: int = 1
    column: int = 1


class View:
    """What the policies of one tenant (or of the fleet) see of a plan: some groups, and numbers over these."""

    def __init__(self, groups: Sequence[Group], rest: Mapping[str, Any]) -> None:
        self.groups, self._rest = groups, rest
        self._known: dict[tuple[int, bool], Any] = {}

    def values(self, group: Group, *, fields: bool) -> Any:
        """A group's variables, ready for evaluation. Raises `Failed`."""
        key = id(group), fields
        if key not in self._known:
            more = {"change.fields": group.fields} if fields else {}
            self._known[key] = activation({**self._rest, **group.values, **more})
        return self._known[key]


def broken(spec: Spec, view: View, group: Group) -> Broken | None:
    """Why a group does not pass a policy; None if it does, or if the policy is not about it."""
    rule, when = spec["rule"], spec.get("when")
    pointer = "/spec/when"
    try:
        if when is not None and not condition(when).holds(view.values(group, fields=_FIELDS in when)):
            return None
        pointer = "/spec/rule"
        parts_of_it = clauses(rule)
        values = view.values(group, fields=_FIELDS in rule)
        if condition(rule).holds(values):
            return None
        blamed = _blamed(parts_of_it, values) or condition(rule)
    except Invalid as error:
        return Broken(why=error.message, message="", failed=True, pointer=pointer, line=error.line, column=error.column)
    except Failed as error:
        return Broken(why=str(error), message="", failed=True, pointer=pointer)
    message = filled(spec["message"], view.values(group, fields=True))
    return Broken(why=" ".join(blamed.text.split()), message=message, failed=False, line=blamed.line, column=blamed.column)


def _blamed(parts_of_it: Sequence[Expression], values: Any) -> Expression | None:
    """The first clause that is false."""
    for part in parts_of_it:
        with suppress(Failed):
            if not part.holds(values):
                return part
    return None


@dataclass(frozen=True, kw_only=True)
class Policies:
    """The policies in force, by address, and what a plan is judged against besides its changes. `at`: seconds since the epoch; `hosts`: in the whole
    fleet."""

    specs: Mapping[str, Spec]
    who: Who
    at: float
    hosts: int
    where: Where = lambda address, pointer, line, column: None

    def judge(self, changes: Iterable[Change], sides: Sides) -> tuple[GuardVerdict, ...]:
        """A verdict of every policy that refuses or warns."""
        if not self.specs:
            return ()
        judged = _Judged(policies=self, groups=folded((change for change in changes if not change.address.startswith(OWN)), sides))
        return tuple(filter(None, map(judged.verdict, sorted(self.specs))))


@dataclass(frozen=True, kw_only=True)
class _Judged:
    policies: Policies
    groups: Sequence[Group]

    @cached_property
    def _views(self) -> dict[str, View]:
        return {}

    def _view(self, tenant: str) -> View:
        if tenant not in self._views:
            groups = [group for group in self.groups if not tenant or tenant in group.tenants]
            rest = numbers(groups, self.policies.hosts, self.policies.at) | self.policies.who.values
            self._views[tenant] = View(groups, rest)
        return self._views[tenant]

    def verdict(self, address: str) -> GuardVerdict | None:
        """What one policy says of the plan."""
        spec = self.policies.specs[address]
        _, _, tenant, name = parts(address)
        tenant = tenant.removeprefix("-")
        view = self._view(tenant)
        found = [(group, why) for group in view.groups if (why := broken(spec, view, group)) is not None]
        if not found:
            return None
        shown = "/".join(filter(None, ("policy", tenant, name)))
        return GuardVerdict(
            guard=shown,
            refuses=spec.get("severity", "refuse") == "refuse" or any(why.failed for _, why in found),
            message="; ".join(self._told(address, found)),
            hint=spec.get("hint", "") or "leave these changes out, or first merge and apply a commit that changes the policy",
            addresses=tuple(sorted(change.address for group, _ in found for change in group.changes)),
        )

    def _told(self, address: str, found: Sequence[tuple[Group, Broken]]) -> Iterator[str]:
        """Why, for the first change of each reason, and how many more there are."""
        same: dict[Broken, list[Group]] = {}
        for group, why in found:
            same.setdefault(why, []).append(group)
        for why, groups in list(same.items())[:_MOST]:
            number = sum(len(group.changes) for group in groups)
            first = groups[0].first
            which = f"{first.action} {first.address}" + (f" and {number - 1:,} more" if number > 1 else "")
            said = f"it cannot be judged: {why.why}" if why.failed else f"{why.message} ({why.why})"
            yield f"{said}, {self._place(address, why)}, for {which}"
        if len(same) > _MOST:
            yield f"and {len(same) - _MOST:,} more reasons"

    def _place(self, address: str, why: Broken) -> str:
        origin = self.policies.where(address, why.pointer, why.line, why.column)
        part = why.pointer.rpartition("/")[2]
        return f"{part} at {origin}" if origin else f"line {why.line} of its {part} as applied last, which this commit does not have"
