"""What to do about one resource: a change, a deferral with its reason, or nothing.

In: what is desired now and at the base, what is recorded, what was observed. Unknown never leads to a change. This file does not order, guard or
group; `build.py` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.plan.fields import Versions, causes, field_changes, same, spec_changes
from reconciler.types.canonical import NOTHING
from reconciler.types.change import MISSING, Action, Cause, Change, FieldChange, Risk
from reconciler.types.kind import Kind
from reconciler.types.observation import Absent, Observation, Present, Proposed, Unknown
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred
from reconciler.types.pointer import below
from reconciler.types.resource import OnDelete, Recorded, Resource, basis
from reconciler.types.values import UNKNOWN, Spec, secrets_in

RULES_PATH = "/@rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that is known of one resource. `base` is the resource at the base commit; `base_known` says whether there is a base at all.

    `recorded` is the record at `address`, or for a move at the old address. `removal` says why a resource with a record and no manifest must not be
    deleted now (code and reason), or None. `void`: the causes of a lifetime dependency's replacement in this plan, or none; `anew`: it begins anew.
    """

    address: str
    kind: Kind
    observation: Observation | None
    desired: Resource | None = None
    base: Resource | None = None
    base_known: bool = False
    recorded: Recorded | None = None
    recorded_spec: Spec | None = None
    removal: tuple[str, str] | None = None
    void: frozenset[Cause] = frozenset()
    anew: bool = False

    @property
    def moved_from(self) -> str | None:
        """The old address, if this is a move."""
        return self.recorded.address if self.recorded is not None and self.recorded.address != self.address else None


def decide(case: Case) -> Change | Deferred | None:
    """The change that brings the world to desired, a deferral, or None when it is there already."""
    if case.desired is None:
        return _remove(case)
    blocked = unknown_input(case.desired.spec) if case.desired.has_leaves else ""
    if blocked:
        return _defer(case, "input-unknown", blocked)
    if case.observation is None:
        return _defer(case, "not-observed", "it has not been observed yet")
    if case.anew:
        return _compare(case, case.desired, Absent(at=case.observation.at))
    if isinstance(case.observation, Unknown):
        return _defer(case, case.observation.code, case.observation.reason)
    if case.void:
        return _compare(case, case.desired, Absent(at=case.observation.at))
    if isinstance(case.observation, Proposed):
        return _run(case, case.desired, case.observation)
    return _compare(case, case.desired, case.observation)


def _compare(case: Case, desired: Resource, observation: Present | Absent) -> Change | Deferred | None:
    if isinstance(observation, Absent):
        action = Action.RUN if case.kind.engine else Action.CREATE
        return _converge(case, desired, action, (), observation)
    if observation.digest != desired.digest:
        fields = field_changes(_versions(case, desired, observation.spec))
        action = Action.REPLACE if touches(fields, case.kind.replace_on) else Action.UPDATE
        if action is Action.REPLACE and case.recorded is None:
            return _defer(
                case, "not-ours", "something else of this name is there, and it is not recorded: it is not replaced; remove it by hand"
            )
        return _converge(case, desired, action, fields, observation)
    if case.moved_from:
        return _converge(case, desired, Action.MOVE, (), observation)
    if case.recorded is None:
        return _converge(case, desired, Action.ADOPT, (), observation)
    fields = (*_recorded_fields(case, desired), *_rule_fields(case, desired))
    return _converge(case, desired, Action.RECORD, fields, observation) if fields or case.recorded.digest != desired.digest else None


def _run(case: Case, desired: Resource, proposed: Proposed) -> Change | None:
    changed = case.recorded is None or case.recorded.digest != desired.digest
    if not proposed.fields and not changed:
        rules = _rule_fields(case, desired)
        return _converge(case, desired, Action.RECORD, rules, proposed) if rules else None
    wanted = _recorded_fields(case, desired)
    why = frozenset().union(*(item.causes for item in wanted)) if wanted else _whole(case) if changed else frozenset({Cause.DRIFT})
    fields = tuple(
        FieldChange(path=item.path, before=item.before, after=item.after, causes=why, diff=item.diff) for item in proposed.fields
    )
    return _converge(case, desired, Action.RUN, (*wanted, *fields), proposed)


def _converge(
    case: Case, desired: Resource, action: Action, fields: tuple[FieldChange, ...], observation: Present | Absent | Proposed
) -> Change:
    if case.moved_from and action in (Action.UPDATE, Action.CREATE):
        action = Action.MOVE
    why = frozenset().union(*(item.causes for item in fields)) if fields else _whole(case)
    return Change(
        address=case.address,
        action=action,
        fields=fields,
        before_digest=NOTHING if isinstance(observation, Absent) else observation.digest,
        after_digest=NOTHING if isinstance(observation, Proposed) else desired.digest,
        desired_digest=desired.digest,
        rules=desired.rules,
        group=desired.group,
        origin=desired.origin,
        causes=why,
        risk=risks_of(case.kind, action, fields),
        moved_from=case.moved_from,
        blind_spots=observation.blind_spots if isinstance(observation, Proposed) else (),
        basis=basis(case.recorded),
    )


def _remove(case: Case) -> Change | Deferred | None:
    recorded = case.recorded
    if recorded is None:
        return None
    if case.removal:
        return _defer(case, *case.removal)
    forget = recorded.rules.on_delete is OnDelete.FORGET or not case.kind.deletable
    if not forget and (case.observation is None or isinstance(case.observation, Unknown)):
        unknown = case.observation
        return _defer(case, *((unknown.code, unknown.reason) if unknown else ("not-observed", "it has not been observed yet")))
    forget = forget or isinstance(case.observation, Absent)
    action = Action.FORGET if forget else Action.DELETE
    before = case.observation.digest if isinstance(case.observation, Present | Proposed) else NOTHING
    return Change(
        address=case.address,
        action=action,
        fields=(),
        before_digest=before,
        after_digest=before if forget else NOTHING,
        desired_digest=NOTHING,
        rules=recorded.rules,
        group=recorded.group,
        origin=case.base.origin if case.base else Origin(path=""),
        causes=frozenset({Cause.COMMIT if case.base or not case.base_known else Cause.PENDING}),
        risk=risks_of(case.kind, action, ()),
        basis=basis(recorded),
    )


def _defer(case: Case, code: str, reason: str) -> Deferred:
    known = case.desired or case.recorded
    return Deferred(address=case.address, code=code, reason=reason, group=known.group if known else "")


def _versions(case: Case, desired: Resource, observed: object) -> Versions:
    base = (case.base.spec if case.base else MISSING) if case.base_known else None
    recorded = MISSING if case.recorded_spec is None else case.recorded_spec
    return Versions(desired=desired.spec, base=base, recorded=recorded, observed=observed, known=case.recorded is not None)


def _recorded_fields(case: Case, desired: Resource) -> tuple[FieldChange, ...]:
    if case.recorded_spec is None or (case.recorded is not None and case.recorded.digest == desired.digest):
        return ()
    return spec_changes(_versions(case, desired, case.recorded_spec))


def _rule_fields(case: Case, desired: Resource) -> tuple[FieldChange, ...]:
    if case.recorded is None or case.recorded.rules == desired.rules:
        return ()
    before, after = case.recorded.rules.stated(), desired.rules.stated()
    base = case.base.rules.stated() if case.base else None
    return tuple(
        FieldChange(
            path=f"{RULES_PATH}/{name}",
            recorded=before[name],
            before=before[name],
            after=after[name],
            causes=causes("", Versions(desired=after[name], base=base and base[name], recorded=before[name], observed=before[name])),
        )
        for name in sorted(after)
        if not same(before[name], after[name])
    )


def _whole(case: Case) -> frozenset[Cause]:
    """Why a resource as a whole is not there."""
    if case.void:
        return case.void
    if case.recorded is not None and case.desired is not None and case.recorded.digest == case.desired.digest and not case.moved_from:
        return frozenset({Cause.DRIFT})
    wished_before = case.base_known and case.base is not None and case.base.address == case.address
    return frozenset({Cause.PENDING if wished_before else Cause.COMMIT})


def risks_of(kind: Kind, action: Action, fields: Sequence[FieldChange]) -> frozenset[Risk]:
    """What an action on such a resource, with these fields, may do to people."""
    recorded = action in (Action.ADOPT, Action.RECORD)  # nothing in the world changes: what a field would do to it is not done
    touched = {risk for prefix, risk in kind.risks.items() if not prefix or (not recorded and touches(fields, (prefix,)))}
    if kind.destroys and action in (Action.DELETE, Action.REPLACE):
        touched.add(Risk.DESTRUCTIVE)
    if action is Action.CREATE:
        touched |= kind.create_risks
    return frozenset(touched)


def touches(fields: Sequence[FieldChange], prefixes: Sequence[str]) -> bool:
    """Whether any field is at or below any of the pointers."""
    return any(below(item.path, prefix) for item in fields for prefix in prefixes)


def unknown_input(spec: Spec) -> str:
    """Why a secret in the specification could not be read, or nothing."""
    return next((item.token.removeprefix(UNKNOWN) for item in secrets_in(spec) if item.token.startswith(UNKNOWN)), "")


def voids(change: Change, kind: Kind) -> bool:
    """Whether this change replaces or reinstalls its target, so that the record of its lifetime dependents is void."""
    return (change.action is Action.CREATE and kind.begins) or change.action is Action.REPLACE or touches(change.fields, kind.renews)
