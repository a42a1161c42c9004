"""Policies in force against a plan's changes: which of them refuse it, by which line, and why. Pure.

A policy that cannot be judged (it does not compile, fails, gives something else than true or false, takes too many steps) refuses.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from reconciler.gate.expression import Expression, Failed, Invalid, activation, clauses, condition, filled
from reconciler.gate.group import Group, Sides, folded, numbers
from reconciler.types.change import Change
from reconciler.types.origin import Origin
from reconciler.types.plan import GuardVerdict
from reconciler.types.resource import parts, tenant_of
from reconciler.types.values import Spec

OWN = "fleet/policy/"
"""Where the addresses of policies begin. Their own changes are not judged: one that refuses everything could not be mended."""

_FIELDS, _MOST = "fields", 3

Where = Callable[[str, str, int, int], Origin | None]
"""The place in the repository of a line and column of an expression, by address of its policy and pointer; None where it is not as in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who asks for a plan. `unattended`: nobody does, the server plans by itself. `roles`: those that he has in all of a tenant; with none, across them."""

    identity: str = ""
    unattended: bool = False
    roles: Callable[[str], Iterable[str]] = lambda tenant: ()

    def values(self, tenant: str = "") -> dict[str, Any]:
        """The variables `who.*`, for policies of a tenant; with none, for those of the fleet."""
        roles = [] if self.unattended else sorted(self.roles(tenant))
        return {"who.identity": self.identity, "who.unattended": self.unattended, "who.roles": roles}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Why one group does not pass. `pointer`, `line` and `column` say where the policy says so; `failed`: it could not be judged."""

    why: str
    message: str
    failed: bool
    pointer: str = "/spec/rule"
    line: int = 1
    column: int = 1


class Seen:
    """One group as policies see it, with the numbers of the plan: its variables, made when they are asked for."""

    def __init__(self, group: Group, rest: Mapping[str, Any], fields: Callable[[], Any] | None = None) -> None:
        self._group, self._rest, self._fields = group, rest, fields or (lambda: group.fields)
        self._known: dict[bool, Any] = {}

    def values(self, *, fields: bool) -> Any:
        """The variables, ready for evaluation; without those of the fields, which are many, if not asked for. Raises `Failed`."""
        if fields not in self._known:
            more = {"change.fields": self._fields()} if fields else {}
            self._known[fields] = activation({**self._rest, **self._group.values, **more})
        return self._known[fields]


def broken(spec: Spec, seen: Seen) -> Broken | None:
    """Why a group does not pass a policy; None if it does, or if the policy is not about it."""
    rule, when = spec["rule"], spec.get("when")
    pointer = "/spec/when"
    try:
        if when is not None and not condition(when).holds(seen.values(fields=_FIELDS in when)):
            return None
        pointer = "/spec/rule"
        parts_of_it = clauses(rule)
        values = seen.values(fields=_FIELDS in rule)
        if condition(rule).holds(values):
            return None
        blamed = _blamed(parts_of_it, values) or condition(rule)
    except Invalid as error:
        return Broken(why=error.message, message="", failed=True, pointer=pointer, line=error.line, column=error.column)
    except Failed as error:
        return Broken(why=str(error), message="", failed=True, pointer=pointer)
    message = filled(spec["message"], seen.values(fields=_FIELDS in spec["message"]))
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
        groups = folded((change for change in changes if not change.address.startswith(OWN)), sides)
        rest = {tenant: self._rest(tenant, groups) for tenant in sorted(set(map(tenant_of, self.specs)))}
        found: dict[str, list[tuple[Group, Broken]]] = {address: [] for address in sorted(self.specs)}
        for group in groups:
            fields = cache(partial(getattr, group, "fields"))
            seen = {tenant: Seen(group, values, fields) for tenant, values in rest.items() if _sees(tenant, group)}
            for address, reasons in found.items():
                if tenant_of(address) in seen and (why := broken(self.specs[address], seen[tenant_of(address)])) is not None:
                    reasons.append((group, why))
        return tuple(self._verdict(address, reasons) for address, reasons in found.items() if reasons)

    def _rest(self, tenant: str, groups: Sequence[Group]) -> dict[str, Any]:
        """The variables that are not of a group, as the policies of a tenant see them."""
        return numbers([group for group in groups if _sees(tenant, group)], self.hosts, self.at) | self.who.values(tenant)

    def _verdict(self, address: str, found: Sequence[tuple[Group, Broken]]) -> GuardVerdict:
        spec = self.specs[address]
        return GuardVerdict(
            guard="/".join(filter(None, ("policy", tenant_of(address), parts(address)[3]))),
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
        origin = self.where(address, why.pointer, why.line, why.column)
        part = why.pointer.rpartition("/")[2]
        return f"{part} at {origin}" if origin else f"line {why.line} of its {part} as applied last, which this commit does not have"


def _sees(tenant: str, group: Group) -> bool:
    return not tenant or tenant in group.tenants
