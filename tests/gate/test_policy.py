"""Policies: what they see, what they say, and that whatever cannot be judged refuses."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from reconciler.gate.examples import mistakes
from reconciler.gate.expression import VARIABLES, Expression, Invalid, clauses, condition, filled
from reconciler.gate.group import folded, numbers
from reconciler.gate.policy import Policies, Seen, Who
from reconciler.types.change import MISSING, PLANNED, Action, Cause, Change, FieldChange, Risk
from reconciler.types.origin import Origin
from reconciler.types.plan import GuardVerdict
from reconciler.types.resource import Rules
from reconciler.types.values import KnownAfter, Secret, SecretRef
from tests.conftest import ROOT

AT = 1_767_355_200.0
"""Friday 2026-01-02, 12:00 UTC."""
NO_SIDES = (MISSING, MISSING)
SECRET = Secret(ref=SecretRef(store="vault", key="db"), token="0" * 64)


TEN = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]"


def change(where: str = "boot/user-data/shop/web-01", action: Action = Action.UPDATE, **more: Any) -> Change:
    _, _, tenant, name = where.split("/")
    said: dict[str, Any] = {
        "address": where, "action": action, "fields": (), "before_digest": "b", "after_digest": "a", "desired_digest": "d",
        "rules": Rules(tenant=tenant.removeprefix("-")), "group": f"host/{tenant}/{name}", "origin": Origin(path="h.yaml"),
        "causes": frozenset({Cause.COMMIT}),
    }  # fmt: skip
    return Change(**(said | more))


def field(path: str, before: Any = MISSING, after: Any = MISSING) -> FieldChange:
    return FieldChange(path=path, before=before, after=after, causes=frozenset({Cause.COMMIT}))


def policy(rule: str, **more: Any) -> dict[str, Any]:
    return {"rule": rule, "message": "no", "examples": []} | more


def judge(
    specs: Mapping[str, Mapping[str, Any]] | str,
    *changes: Change,
    sides: Callable[[Change], tuple[object, object]] = lambda change: NO_SIDES,
    **more: Any,
) -> tuple[GuardVerdict, ...]:
    of = {"fleet/policy/-/p": policy(specs)} if isinstance(specs, str) else specs
    return Policies(**({"specs": of, "who": Who(identity="local:ada"), "at": AT, "hosts": 10} | more)).judge(changes, sides)


def refused(rule: str, *changes: Change, **more: Any) -> bool:
    return bool(judge(rule, *(changes or (change(),)), **more))


def seen(expression: str, one: Change, sides: tuple[object, object] = NO_SIDES, **more: Any) -> str:
    """The value of an expression, as a message shows it."""
    spec = policy("false", message=f"<{{{expression}}}>")
    (verdict,) = judge({"fleet/policy/-/p": spec}, one, sides=lambda change: sides, **more)
    return verdict.message.partition("<")[2].partition(">")[0]


def test_the_variables_are_what_the_change_and_the_plan_say() -> None:
    one = change(
        action=Action.MOVE, causes=frozenset({Cause.DRIFT, Cause.COMMIT}), risk=frozenset({Risk.REBOOT}),
        rules=Rules(tenant="shop", protect=True), moved_from="boot/user-data/lab/web-01",
    )  # fmt: skip
    told = {
        "change.action": "move", "change.driver": "boot", "change.kind": "user-data", "change.tenant": "shop", "change.movedFrom": "lab",
        "change.causes": "commit, drift", "change.risk": "reboot", "change.protected": "true", "change.count": "1",
        "plan.changes": "1", "plan.hosts": "10", "plan.hostsChanged": "1", "plan.share": "0.1", "plan.byAction.move": "1",
        "plan.byAction.delete": "0", "plan.byCause.drift": "1", "plan.byRisk.reboot": "1", "plan.hostsByRisk.reboot": "1",
        "plan.byTenant.shop": "1", "plan.at.getDayOfWeek()": "5", "who.identity": "local:ada", "who.unattended": "false",
        "size(who.roles)": "0", "size(change.fields)": "0",
    }  # fmt: skip
    assert {name: seen(name, one) for name in told} == told
    named = {".".join(name.replace("size(", "").rstrip(")").split(".")[:2]) for name in told}
    assert named == VARIABLES.keys()


def test_fields_are_taken_apart_into_single_values() -> None:
    fields = (
        field("/packages", ["a", "b"], ["a", "c", "d"]),
        field("/users", MISSING, [{"name": "eve", "sudo": ["x"]}]),
        field("/empty", {}, []),
        field("/gone", {"k": None}, MISSING),
        field("/kind", "text", {"now": 1}),
    )
    (group,) = folded([change(fields=fields)], lambda change: NO_SIDES)
    told = {(item["path"], item.get("before", "-"), item.get("after", "-")) for item in map(_plain, group.fields)}
    assert told == {
        ("/packages/1", "b", "c"), ("/packages/2", "-", "d"), ("/users/0/name", "-", "eve"), ("/users/0/sudo/0", "-", "x"),
        ("/empty", "{}", "[]"), ("/gone/k", "None", "-"), ("/kind", "text", "-"), ("/kind/now", "-", "1"),
    }  # fmt: skip


def _plain(item: Mapping[str, Any]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else str(value) for key, value in item.items()}


@pytest.mark.parametrize(
    ("action", "sides", "paths"),
    [
        (Action.CREATE, ({"old": 1}, {"new": 1}), [("/new", "after")]),
        (Action.DELETE, ({"old": 1}, {"new": 1}), [("/old", "before")]),
        (Action.MOVE, ({"same": 1, "old": 1}, {"same": 1}), [("/old", "before")]),
        (Action.RUN, (MISSING, {"new": 1}), [("/new", "after")]),
        (Action.UPDATE, (MISSING, MISSING), []),
    ],
)
def test_what_comes_or_goes_as_a_whole_shows_its_values(action: Action, sides: tuple[object, object], paths: list[tuple[str, str]]) -> None:
    (group,) = folded([change(action=action)], lambda change: sides)
    assert [(item["path"], next(side for side in ("before", "after") if side in item)) for item in group.fields] == paths


def test_the_first_run_of_an_engine_shows_its_whole_wish_besides_what_it_foresees() -> None:
    run = change(action=Action.RUN, fields=(field("/task", 1, 2),))
    (new,) = folded([run], lambda change: (MISSING, {"vars": {"p": 1}}))
    (known,) = folded([run], lambda change: ({"vars": {}}, {"vars": {"p": 1}}))
    assert [item["path"] for item in new.fields] == ["/task", "/vars/p"]
    assert [item["path"] for item in known.fields] == ["/task"]


def test_a_secret_is_seen_as_one_and_never_as_text() -> None:
    one = change(fields=(field("/password", "plain", SECRET), field("/ip", MISSING, KnownAfter(address="cloud/ip/shop/a", path="/ip"))))
    assert seen("change.fields[1].after.secret", one) == "vault/db"
    assert seen("change.fields[0].after.knownAfter", one) == "cloud/ip/shop/a"
    assert SECRET.token not in seen("change.fields", one)
    assert not refused("change.fields.all(f, type(f.after) == map)", one)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("change.fields[0].after == 1", "Index error"),
        ("change.fields[0].nothing == 1", "Index error"),
        ("1 / 0 == 1", "divide by zero"),
        ("plan.byTenant['nowhere'] == 0", "Key not found"),
        ("change.acton == 'x'", "undeclared reference"),
        ("change.count == 'x'", "no matching overload"),
        ("change.count", "must be true or false"),
        ("dyn(1)", "not true or false"),
        ("((", "Syntax error"),
        ("", "Syntax error"),
        ("change.action.matches('(')", "invalid regular expression"),
        (f"{'(' * 200}true{')' * 200}", "recursion"),
        ("x" * 200_000, "codepoint limit"),
        (f"{TEN}.all(a, {TEN}.all(b, {TEN}.all(c, {TEN}.all(d, {TEN}.all(e, true)))))", "too many steps"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["rule", "when"])
@pytest.mark.parametrize("severity", ["refuse", "warn"])
def test_what_cannot_be_judged_refuses(rule: str, why: str, key: str, severity: str) -> None:
    spec = policy("true", severity=severity) | {key: rule}
    (verdict,) = judge({"fleet/policy/-/p": spec}, change())
    assert verdict.refuses and "it cannot be judged" in verdict.message and why in verdict.message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800") | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
EXPRESSIONS = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(
            [*VARIABLES, "true", "false", "&&", "||", "!", "(", ")", "==", "'a'", "1", "in", ".all(f,", "f.after", "[0]", "?", ":"]
        ),
        max_size=9,
    ).map(" ".join),
)


@given(rule=EXPRESSIONS, value=VALUES)
@settings(max_examples=300, deadline=None)
def test_whatever_a_rule_and_a_value_are_the_plan_is_judged_and_only_true_passes(rule: str, value: Any) -> None:
    one = change(fields=(field("/x", MISSING, value),)) if _storable(value) else change()
    found = judge(rule, one)
    try:
        (group,) = folded([one], lambda change: NO_SIDES)
        rest = numbers([group], 10, AT) | Who(identity="local:ada").values()
        holds = condition(rule).holds(Seen(group, rest).values(fields=True))
    except Exception:  # noqa: BLE001 - any reason at all
        holds = False
    assert bool(found) is not holds
    assert all(verdict.refuses for verdict in found)


def _storable(value: Any) -> bool:
    """Half a surrogate pair and NaN cannot be in a specification: no canonical form would hold them."""
    from reconciler.types.canonical import canonical

    try:
        canonical(value)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def test_the_variables_are_the_documented_ones_and_those_of_the_examples() -> None:
    page = (ROOT / "docs" / "policies.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    assert {name.strip(" `"): kind.strip() for names, kind in rows for name in names.split(",")} == dict(VARIABLES)
    example = schemas.schema("Policy")["properties"]["spec"]["properties"]["examples"]["items"]["properties"]
    assert {f"{of}.{name}" for of in ("change", "plan", "who") for name in example[of]["properties"]} == VARIABLES.keys()
    enums = {
        name: example["plan"]["properties"][name]["propertyNames"]["enum"] for name in ("byAction", "byCause", "byRisk", "hostsByRisk")
    }
    assert enums == {"byAction": list(PLANNED), "byCause": list(Cause), "byRisk": list(Risk), "hostsByRisk": list(Risk)}
    assert example["change"]["properties"]["action"]["enum"] == list(PLANNED)


def test_a_long_list_of_clauses_is_not_deep() -> None:
    assert not refused(" && ".join(["change.count > 0"] * 150))


def test_a_warning_does_not_refuse() -> None:
    (verdict,) = judge({"fleet/policy/-/p": policy("false", severity="warn")}, change())
    assert not verdict.refuses and verdict.guard == "policy/p"


def test_a_policy_is_about_what_its_when_says() -> None:
    spec = policy("false", when="change.action == 'delete'")
    assert not judge({"fleet/policy/-/p": spec}, change())
    (verdict,) = judge({"fleet/policy/-/p": spec}, change(), change("boot/user-data/shop/web-02", Action.DELETE))
    assert verdict.addresses == ("boot/user-data/shop/web-02",)


def test_a_policy_of_a_tenant_sees_what_is_comes_to_or_leaves_that_tenant() -> None:
    shop, lab = change("boot/user-data/shop/a"), change("boot/user-data/lab/b")
    left = change("boot/user-data/lab/c", Action.MOVE, moved_from="boot/user-data/shop/c")
    spec = policy("false", message="{plan.changes} {plan.byTenant}")
    (verdict,) = judge({"fleet/policy/shop/p": spec}, shop, lab, left)
    assert verdict.guard == "policy/shop/p"
    assert set(verdict.addresses) == {shop.address, left.address}
    assert verdict.message.startswith("2 ")
    (whole,) = judge({"fleet/policy/-/p": spec}, shop, lab, left)
    assert len(whole.addresses) == 3 and whole.message.startswith("3 ")


def test_changes_of_policies_themselves_are_not_judged() -> None:
    """Else a policy that refuses everything could never be mended."""
    assert not judge("false", change("fleet/policy/-/p"), change("fleet/policy/shop/q", Action.DELETE))
    assert judge("false", change("fleet/maintenancewindow/shop/q"))


def test_without_changes_nothing_is_refused() -> None:
    assert not judge("false") and not judge({}, change())


def test_the_verdict_names_the_line_the_clause_the_reason_and_the_first_change() -> None:
    rule = "change.count > 0 &&\n  // of all\n  !change.fields.exists(f,\n    f.after == 'x') && true"
    spec = policy(rule, message="{change.kind} has x", hint="leave x out")
    changes = [change(f"boot/user-data/shop/web-{n}", fields=(field("/a", "y", "x"),)) for n in (3, 1, 2)]
    places: list[tuple[Any, ...]] = []

    def where(*asked: Any) -> Origin:
        places.append(asked)
        return Origin(path="p.yaml", line=7 + asked[2], column=asked[3])

    (verdict,) = judge({"fleet/policy/shop/p": spec}, *changes, where=where)
    assert verdict.message == (
        "user-data has x (!change.fields.exists(f, f.after == 'x')), rule at p.yaml:10:3, for update boot/user-data/shop/web-1 and 2 more"
    )
    assert places == [("fleet/policy/shop/p", "/spec/rule", 3, 3)]
    assert verdict.hint == "leave x out"
    (other,) = judge({"fleet/policy/shop/p": spec}, *changes)
    assert "line 3 of its rule as applied last, which this commit does not have" in other.message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("true", [("true", 1, 1)]),
        ("true && change.count > 1", [("true", 1, 1), ("change.count > 1", 1, 9)]),
        ("'&&' == r'\\n' && \"\"\"&&\n\"\"\" != ''\n&& true", [("'&&' == r'\\n'", 1, 1), ('"""&&\n""" != \'\'', 1, 18), ("true", 3, 4)]),
        ("true && // no && here\n false", [("true", 1, 1), ("false", 2, 2)]),
        ("(true && false) && [true && true][0]", [("(true && false)", 1, 1), ("[true && true][0]", 1, 20)]),
        ("true && false || true", [("true && false || true", 1, 1)]),
        ("true ? false && true : true", [("true ? false && true : true", 1, 1)]),
    ],
)
def test_clauses(text: str, parts: list[tuple[str, int, int]]) -> None:
    found = [(part.text, part.line, part.column) for part in clauses(text)]
    assert found == parts


def test_a_message_that_cannot_be_filled_stays_as_it_is() -> None:
    spec = policy("false", message="{change.fields[9].path} {nothing} {")
    (verdict,) = judge({"fleet/policy/-/p": spec}, change())
    assert verdict.message.startswith("{change.fields[9].path} {nothing} { (false)")
    assert filled("plain", None) == "plain"


FIELDS = st.builds(field, st.sampled_from(["/a", "/b"]), st.sampled_from([MISSING, 1, "x", ["x"]]), st.sampled_from([1, "x", SECRET]))
CHANGES = st.builds(
    change,
    st.builds(
        "{}/{}/{}/{}".format, st.sampled_from(["boot", "d"]), st.sampled_from(["k", "l"]), st.sampled_from(["shop", "lab", "-"]),
        st.integers(0, 9).map("h{}".format),
    ),
    st.sampled_from(Action),
    causes=st.frozensets(st.sampled_from(Cause), min_size=1, max_size=2),
    risk=st.frozensets(st.sampled_from(Risk), max_size=2),
    fields=st.lists(FIELDS, max_size=2).map(tuple),
)  # fmt: skip
RULES = st.sampled_from(
    [
        "change.action != 'delete'",
        "change.tenant != 'lab' || change.movedFrom == ''",
        "!('access' in change.risk) && !('drift' in change.causes)",
        "change.fields.all(f, f.after != 'x')",
        "change.fields.all(f, f.before == 1)",
        "change.fields.all(f, type(f.after) != map || f.after.secret == '')",
        "change.count < 3",
        "plan.byAction.update < 3 || change.kind == 'k'",
        "plan.hostsByRisk.reboot + plan.byCause.drift < 4",
        "change.fields[0].after == 1",
    ]
)


def sides_of(one: Change) -> tuple[object, object]:
    number = len(one.address) % 2
    return {"a": "x", "n": number}, {"a": SECRET, "n": number}


@given(changes=st.lists(CHANGES, max_size=12, unique_by=lambda item: item.address), rule=RULES, seed=st.integers())
@settings(max_examples=200, deadline=None)
def test_the_order_of_changes_does_not_matter(changes: list[Change], rule: str, seed: int) -> None:
    mixed = list(changes)
    random.Random(seed).shuffle(mixed)
    assert judge(rule, *changes, sides=sides_of) == judge(rule, *mixed, sides=sides_of)


@given(changes=st.lists(CHANGES, max_size=12, unique_by=lambda item: item.address), rule=RULES)
@settings(max_examples=200, deadline=None)
def test_folding_never_changes_a_verdict(changes: list[Change], rule: str) -> None:
    """Each change by itself, with the numbers of the whole, is judged as its group is."""
    groups = folded(changes, sides_of)
    rest = numbers(groups, 10, AT) | Who(identity="local:ada").values()
    alone: set[str] = set()
    for group in groups:
        for one in group.changes:
            (single,) = folded([one], sides_of)
            counted = {**rest, **single.values, "change.count": len(group.changes), "change.fields": single.fields}
            if not _passes(rule, counted):
                alone.add(one.address)
    found = judge(rule, *changes, sides=sides_of)
    assert {address for verdict in found for address in verdict.addresses} == alone
    assert sorted(one.address for group in groups for one in group.changes) == sorted(one.address for one in changes)


def _passes(rule: str, values: Mapping[str, Any]) -> bool:
    from reconciler.gate.expression import Failed, activation

    try:
        return condition(rule).holds(activation(values))
    except Failed:
        return False


def test_alike_changes_are_one_group_and_any_visible_difference_parts_them() -> None:
    alike = [change(f"boot/user-data/shop/web-{n}", fields=(field("/a", 1, SECRET),)) for n in range(5)]
    assert [len(group.changes) for group in folded(alike, lambda change: NO_SIDES)] == [5]
    other = Secret(ref=SecretRef(store="vault", key="other"), token=SECRET.token)
    one = alike[0]
    for different in (
        replace(one, action=Action.REPLACE),
        replace(one, causes=frozenset({Cause.DRIFT})),
        replace(one, risk=frozenset({Risk.ACCESS})),
        replace(one, rules=Rules(tenant="shop", protect=True)),
        replace(one, rules=Rules(tenant="lab")),
        replace(one, moved_from="boot/user-data/lab/web-0"),
        replace(one, fields=(field("/a", 2, SECRET),)),
        replace(one, fields=(field("/a", 1, other),)),
        replace(one, fields=(field("/a", MISSING, SECRET),)),
        replace(one, address="boot/preseed/shop/web-0"),
    ):
        assert len(folded([*alike, replace(different)], lambda change: NO_SIDES)) == 2


def test_a_rule_is_evaluated_once_for_each_group_however_many_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [change(f"boot/user-data/shop/web-{n}", fields=(field("/a", 99, n % 7),)) for n in range(700)]
    evaluated: list[str] = []
    holds = Expression.holds
    monkeypatch.setattr(Expression, "holds", lambda self, values: evaluated.append(self.text) or holds(self, values))
    rule = "change.fields.all(f, f.after < 9)"
    assert not judge(rule, *changes)
    assert evaluated == [rule] * 7
    (verdict,) = judge("change.fields[0].after != 3", *changes)
    assert len(verdict.addresses) == 100


EXAMPLE = {"name": "e", "passes": True}
GOOD = policy("change.count < 5", examples=[EXAMPLE, {"name": "many", "change": {"count": 9}, "passes": False}])


def told(spec: Mapping[str, Any], tenant: str = "") -> Iterable[tuple[str, int, int, str]]:
    return [(found.pointer, found.line, found.column, found.message) for found in mistakes(spec, tenant)]


def test_a_policy_that_does_as_its_examples_say_has_no_mistakes() -> None:
    assert told(GOOD) == []
    unlike = [{**EXAMPLE, "change": {"tenant": "lab", "count": 9}}, {"name": "many", "change": {"count": 9}, "passes": False}]
    assert told(GOOD | {"examples": unlike}, "shop") == []


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (GOOD | {"rule": "true &&\n change.cuont < 5"}, ("/spec/rule", 2, 8, "undeclared reference to 'change.cuont'")),
        (GOOD | {"when": "change.count"}, ("/spec/when", 1, 1, "it must be true or false, and is of type int")),
        (GOOD | {"message": "a {chnge} b"}, ("/spec/message", 1, 4, "undeclared reference to 'chnge'")),
        (GOOD | {"rule": "change.count < 50"}, ("/spec/examples/1/passes", 0, 0, "the example 'many' says passes: false, and the policy lets it pass")),
        (
            GOOD | {"rule": "change.count < 1"},
            ("/spec/examples/0/passes", 0, 0, "the example 'e' says passes: true, and the policy does not let it pass: change.count < 1"),
        ),
        (GOOD | {"rule": "plan.byTenant.x < 1"}, ("/spec/examples/0/passes", 0, 0, "the example 'e' cannot be judged: Key not found in map : \"x\"")),
        (GOOD | {"examples": [EXAMPLE, EXAMPLE]}, ("/spec/examples", 0, 0, "no example has passes: false")),
        (GOOD | {"rule": "false", "examples": [{**EXAMPLE, "passes": False}] * 2}, ("/spec/examples", 0, 0, "no example has passes: true")),
    ],
)  # fmt: skip
def test_mistakes(spec: Mapping[str, Any], found: tuple[str, int, int, str]) -> None:
    assert found in told(spec)


def test_an_expression_that_does_not_compile_says_where() -> None:
    with pytest.raises(Invalid) as caught:
        condition("true &&\n  change.action == 1")
    assert (caught.value.line, caught.value.column) == (2, 17)
