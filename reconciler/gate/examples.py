"""A Policy against itself: whether its expressions compile, and whether its examples do as they say. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from reconciler.gate.expression import Failed, Invalid, compiled, condition, holes
from reconciler.gate.group import Group, numbers
from reconciler.gate.policy import Seen, Who, broken
from reconciler.types.change import MISSING, Action, Cause, Change, FieldChange, Risk
from reconciler.types.origin import Origin
from reconciler.types.resource import Rules, address
from reconciler.types.values import Secret, SecretRef, Spec

AT = "2026-01-01T12:00:00Z"
"""When an example's plan is made, unless it says so: a Thursday."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """What is wrong with a policy, at a pointer of its manifest; for an expression with line and column in its text, from 1."""

    pointer: str
    message: str
    hint: str
    line: int = 0
    column: int = 0


def mistakes(spec: Spec, tenant: str) -> Iterator[Mistake]:
    """Everything that is wrong with a policy."""
    found = list(_expressions(spec))
    yield from found
    if found:
        return
    passes = [bool(example["passes"]) for example in spec["examples"]]
    for wanted, word in ((True, "passes: true"), (False, "passes: false")):
        if wanted not in passes:
            yield Mistake(pointer="/spec/examples", message=f"no example has {word}", hint="a policy has at least one of either")
    for number, example in enumerate(spec["examples"]):
        said = _tried(spec, example, tenant)
        if said:
            pointer = f"/spec/examples/{number}/passes"
            yield Mistake(pointer=pointer, message=f"the example {example['name']!r} {said}", hint="correct the rule or the example")


def _expressions(spec: Spec) -> Iterator[Mistake]:
    hint = "docs/policies.md lists what an expression may name"
    for key in ("when", "rule"):
        try:
            condition(spec.get(key, "true"))
        except Invalid as error:
            yield Mistake(pointer=f"/spec/{key}", message=error.message, hint=hint, line=error.line, column=error.column)
    for start, text in holes(spec["message"]):
        try:
            compiled(text)
        except Invalid as error:
            line, column = spec["message"].count("\n", 0, start) + 1, start - spec["message"].rfind("\n", 0, start)
            column = column + error.column - 1 if error.line == 1 else error.column
            yield Mistake(
                pointer="/spec/message", message=error.message, hint="{...} is an expression", line=line + error.line - 1, column=column
            )


def _tried(spec: Spec, example: Mapping[str, Any], tenant: str) -> str:
    """What an example does instead of what it says."""
    group = _group(example.get("change", {}), tenant)
    try:
        seen = not tenant or tenant in group.tenants
        found = broken(spec, Seen(group, _rest(example, group))) if seen else None
    except Failed as error:
        return f"cannot be judged: {error}"
    if found is None:
        return "" if example["passes"] else "says passes: false, and the policy lets it pass"
    if found.failed:
        return f"cannot be judged: {found.why}"
    return f"says passes: true, and the policy does not let it pass: {found.why}" if example["passes"] else ""


def _rest(example: Mapping[str, Any], group: Group) -> dict[str, Any]:
    """The variables `plan.*` and `who.*`: those of a plan with these changes alone, and over them what the example says."""
    said = {f"plan.{name}": value for name, value in example.get("plan", {}).items()}
    at = datetime.fromisoformat(said.pop("plan.at", AT)).timestamp()
    found = numbers([group], said.get("plan.hosts", len(group.changes)), at)
    merged = {name: found[name] | value if isinstance(value, dict) else value for name, value in said.items()}
    found |= merged
    if "plan.share" not in said:
        found["plan.share"] = found["plan.hostsChanged"] / found["plan.hosts"] if found["plan.hosts"] else 1.0
    found["plan.share"] = float(found["plan.share"])
    who = example.get("who", {})
    asks = Who(
        identity=who.get("identity", "local:someone"), unattended=who.get("unattended", False), roles=lambda tenant: who.get("roles", ())
    )
    return found | asks.values()


def _group(said: Mapping[str, Any], tenant: str) -> Group:
    """The changes that an example is about."""
    own, driver, kind = said.get("tenant", tenant), said.get("driver", "example"), said.get("kind", "example")
    causes = frozenset(map(Cause, said.get("causes", ["commit"])))
    moved = said.get("movedFrom")
    one = Change(
        address=address(driver, kind, own, "example"),
        action=Action(said.get("action", "update")),
        fields=tuple(_field(item, causes) for item in said.get("fields", ())),
        before_digest="",
        after_digest="",
        desired_digest="",
        rules=Rules(tenant=own, protect=said.get("protected", False)),
        group="",
        origin=Origin(path=""),
        causes=causes,
        risk=frozenset(map(Risk, said.get("risk", ()))),
        moved_from=address(driver, kind, moved, "example") if moved else None,
    )
    many = (replace(one, group=f"host/{own}/example-{number}") for number in range(said.get("count", 1)))
    return Group(changes=tuple(many), whole=None)


def _field(said: Mapping[str, Any], causes: frozenset[Cause]) -> FieldChange:
    sides = (_value(said[name]) if name in said else MISSING for name in ("before", "after"))
    before, after = sides
    return FieldChange(path=said["path"], before=before, after=after, causes=frozenset(map(Cause, said.get("causes", causes))))


def _value(said: Any) -> Any:
    """A value of an example; `secretRef` stands for a secret, as elsewhere."""
    if isinstance(said, dict):
        if said.keys() == {"secretRef"}:
            return Secret(ref=SecretRef(**said["secretRef"]), token="")
        return {key: _value(item) for key, item in said.items()}
    return [_value(item) for item in said] if isinstance(said, list) else said
