"""What is done about one resource: every action, every deferral, and nothing where nothing is to be done."""

# ruff: noqa: E501 - tables read better with one case on a line

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.plan.decide import Case, decide
from reconciler.types.canonical import NOTHING, digest
from reconciler.types.change import WORLD, Action, Cause, Change, Risk
from reconciler.types.observation import Unknown
from reconciler.types.plan import Deferred
from reconciler.types.resource import OnDelete
from reconciler.types.values import UNKNOWN as UNREADABLE
from reconciler.types.values import Secret, SecretRef
from tests.plan.made import ABSENT, UNKNOWN, A, B, case, present, proposed, recorded, resource, rules

FILE, ROLE = "d/file/t/f", "d/role/t/r"
X, Y = {"size": 1, "mode": "a"}, {"size": 1, "mode": "b"}
LOCKED = Secret(ref=SecretRef(store="s", key="k"), token=UNREADABLE + "the store is locked")

ACTIONS = {
    "create": (case(desired=X, seen=ABSENT), Action.CREATE, {Cause.COMMIT}),
    "created by hand": (case(FILE, desired=X, seen=Y), Action.UPDATE, None),
    "create again": (case(desired=X, record=X, seen=ABSENT, base=X), Action.CREATE, {Cause.DRIFT}),
    "create pending": (case(desired=X, seen=ABSENT, base=X), Action.CREATE, {Cause.PENDING}),
    "update": (case(desired=Y, record=X, seen=X, base=X), Action.UPDATE, {Cause.COMMIT}),
    "heal": (case(desired=X, record=X, seen=Y, base=X), Action.UPDATE, {Cause.DRIFT}),
    "replace": (case(desired={"size": 2, "mode": "a"}, record=X, seen=X, base=X), Action.REPLACE, {Cause.COMMIT}),
    "delete": (case(record=X, seen=X, base=X), Action.DELETE, {Cause.COMMIT}),
    "delete pending": (case(record=X, seen=X, base_known=True), Action.DELETE, {Cause.PENDING}),
    "delete changed": (case(record=X, seen=Y, base=X), Action.DELETE, None),
    "gone already": (case(record=X, seen=ABSENT, base=X), Action.FORGET, None),
    "adopt": (case(desired=X, seen=X), Action.ADOPT, {Cause.COMMIT}),
    "record a new spec": (case(desired=Y, record=X, seen=Y, base=X), Action.RECORD, None),
    "record new rules": (case(desired=resource(A, X, rules(protect=True)), record=X, seen=X, base=X), Action.RECORD, {Cause.COMMIT}),
    "run": (case(ROLE, desired=X, seen=proposed("/mode")), Action.RUN, {Cause.COMMIT}),
    "run after drift": (case(ROLE, desired=X, record=X, seen=proposed("/mode"), base=X), Action.RUN, {Cause.DRIFT}),
    "run what is foreseen to change nothing": (case(ROLE, desired=Y, record=X, seen=proposed(), base=X), Action.RUN, {Cause.COMMIT}),
    "run on nothing": (case(ROLE, desired=X, seen=ABSENT), Action.RUN, {Cause.COMMIT}),
    "record rules of an engine": (case(ROLE, desired=resource(ROLE, X, rules(order=9)), record=X, seen=proposed(), base=X), Action.RECORD, None),
    "an engine's role is gone": (case(ROLE, record=X, seen=present(X)), Action.FORGET, None),
    "an engine's role is gone, unseen": (case(ROLE, record=X, seen=UNKNOWN), Action.FORGET, None),
    "onDelete: forget": (case(record=recorded(A, X, rules(on_delete=OnDelete.FORGET)), seen=X), Action.FORGET, None),
    "onDelete: forget, unseen": (case(record=recorded(A, X, rules(on_delete=OnDelete.FORGET)), seen=UNKNOWN), Action.FORGET, None),
    "move": (case(desired=X, record=recorded(B, X), seen=X), Action.MOVE, {Cause.COMMIT}),
    "move and update": (case(desired=Y, record=recorded(B, X), recorded_spec=X, seen=X), Action.MOVE, None),
    "move and replace": (case(desired={"size": 2}, record=recorded(B, X), recorded_spec=X, seen=X), Action.REPLACE, None),
    "move what is gone": (case(desired=X, record=recorded(B, X), recorded_spec=X, seen=ABSENT), Action.MOVE, None),
    "void": (case(desired=X, record=X, seen=X, base=X, void=frozenset({Cause.COMMIT})), Action.CREATE, {Cause.COMMIT}),
    "void and an engine": (case(ROLE, desired=X, record=X, seen=proposed(), void=frozenset({Cause.DRIFT})), Action.RUN, {Cause.DRIFT}),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIONS)
def test_actions(name: str) -> None:
    given_case, action, causes = ACTIONS[name]
    change = decide(given_case)
    assert isinstance(change, Change)
    assert change.action is action
    assert change.causes
    if causes is not None:
        assert change.causes == causes


DEFERRALS = {
    "unreachable": case(desired=X, seen=UNKNOWN),
    "not-observed": case(desired=X),
    "input-unknown": case(desired={"users": [{"p": LOCKED}]}, seen=ABSENT),
    "deletes-stopped": case(record=X, seen=X, removal=("deletes-stopped", "why")),
    "desired-unknown": case(record=recorded(A, X, rules(on_delete=OnDelete.FORGET)), seen=X, removal=("desired-unknown", "why")),
}


@pytest.mark.parametrize("code", DEFERRALS)
def test_deferrals(code: str) -> None:
    found = decide(DEFERRALS[code])
    assert isinstance(found, Deferred)
    assert (found.code, found.address, found.group) == (code, A, "host/t/a")
    assert found.reason


@pytest.mark.parametrize("seen", [None, UNKNOWN])
def test_what_was_not_seen_is_not_deleted(seen: Unknown | None) -> None:
    assert isinstance(decide(case(record=X, seen=seen)), Deferred)


@pytest.mark.parametrize(
    "nothing",
    [case(desired=X, record=X, seen=X), case(desired=X, record=X, seen=X, base=Y), case(), case(seen=X), case(ROLE, desired=X, record=X, seen=proposed()), case(ROLE, desired=X, record=X, seen=X)],
)  # fmt: skip
def test_nothing_to_do(nothing: Case) -> None:
    assert decide(nothing) is None


def test_digests_and_risks() -> None:
    update = decide(case(desired=Y, record=X, seen=X))
    assert isinstance(update, Change)
    assert (update.before_digest, update.after_digest, update.desired_digest, update.risk) == (
        digest(X),
        digest(Y),
        digest(Y),
        {Risk.REBOOT},
    )
    create = decide(case(desired=X, seen=ABSENT))
    assert isinstance(create, Change) and create.before_digest == NOTHING and not create.risk
    delete = decide(case(record=X, seen=Y))
    assert isinstance(delete, Change)
    assert (delete.before_digest, delete.after_digest, delete.risk) == (digest(Y), NOTHING, {Risk.DESTRUCTIVE})
    forget = decide(case(FILE, record=X, seen=ABSENT))
    assert isinstance(forget, Change) and forget.before_digest == forget.after_digest == NOTHING and not forget.risk
    replaced = decide(case(desired={"size": 2, "mode": "a"}, record=X, seen=X))
    assert isinstance(replaced, Change) and replaced.risk == {Risk.DESTRUCTIVE}
    file = decide(case(FILE, record=X, seen=X))
    assert isinstance(file, Change) and not file.risk
    run = decide(case(ROLE, desired=X, seen=proposed("/a")))
    assert isinstance(run, Change) and run.after_digest == NOTHING and run.desired_digest == digest(X)


def test_a_removal_obeys_the_record_not_the_manifest_that_is_gone() -> None:
    change = decide(case(record=recorded(A, X, rules(order=7, protect=True)), seen=X, base=X))
    assert isinstance(change, Change)
    assert change.rules == rules(order=7, protect=True)
    assert change.origin.path == "f.yaml"


def test_rule_changes_are_fields_of_their_own() -> None:
    change = decide(case(desired=resource(A, X, rules(B, protect=True)), record=X, seen=X, base=X))
    assert isinstance(change, Change)
    assert [(f.path, f.before, f.after) for f in change.fields] == [
        ("/@rules/dependsOn", [], [[B, False]]),
        ("/@rules/protect", False, True),
    ]
    assert change.action not in WORLD


SPECS = st.sampled_from([None, X, Y, {"size": 2}])


@given(SPECS, SPECS, SPECS, st.booleans(), st.sampled_from([A, FILE, ROLE]), st.booleans(), st.sampled_from(list(OnDelete)))
def test_unknown_never_changes_the_world(
    desired: dict | None, record: dict | None, base: dict | None, moved: bool, where: str, void: bool, on_delete: OnDelete
) -> None:  # type: ignore[type-arg]
    old = None if record is None else recorded("d/disk/t/old" if moved and desired else where, record, rules(on_delete=on_delete))
    given_case = case(
        where, desired=desired, record=old, recorded_spec=record, base=base, seen=UNKNOWN, void=frozenset({Cause.COMMIT} if void else ())
    )
    for seen in (UNKNOWN, None):
        found = decide(replace(given_case, observation=seen))
        assert found is None or isinstance(found, Deferred) or found.action not in WORLD
        if desired is not None:
            assert isinstance(found, Deferred)


def test_a_secret_elsewhere_that_is_readable_does_not_block() -> None:
    readable, old = (Secret(ref=SecretRef(store="s", key="k"), token=token) for token in ("t", "old"))
    found = decide(case(FILE, desired={"p": readable}, record={"p": old}, seen={"p": old}))
    assert isinstance(found, Change)
    assert found.causes == {Cause.INPUT}
