"""What an expression may make of what it is given: at most as much as stands in it, however it is nested."""

import pytest

from reconciler.gate.expression import Invalid, compiled
from reconciler.gate.growth import MOST_SUMS


def doubling(levels: int, first: str) -> str:
    text = f"size(x{levels}) > 0"
    for level in range(levels, 0, -1):
        text = f"[x{level - 1} + x{level - 1}].exists(x{level}, {text})"
    return f"[{first}].exists(x0, {text})"


@pytest.mark.parametrize(
    "text",
    [
        doubling(20, "'a'"),
        doubling(20, "[1]"),
        "['a'].map(a, a + a).map(b, b + b).exists(c, c == '')",
        "[1].map(a, [a, a]).map(b, [b, b]).exists(c, c == [])",
        "[1].map(a, a > 0, [a, a]).exists(c, c == [])",
        "['a'].exists(a, dyn([a + a]).exists(b, b == ''))",
        "['a'].exists(a, {a + a: 1}.exists(b, b == ''))",
        "['a'].exists(a, [[a + a]][0].exists(b, b == ''))",
        "['a'].exists(a, {'k': [a + a]}.k.exists(b, b == ''))",
        "['a'].exists(a, (true ? [a + a] : []).exists(b, b == ''))",
        "(change.fields + change.fields).exists(f, f.path == '')",
        "'a' == " + " + ".join(["change.action"] * (MOST_SUMS + 2)),
    ],
)
def test_what_could_grow_does_not_compile(text: str) -> None:
    with pytest.raises(Invalid, match=r"a macro may only go over|more than 16 sums"):
        compiled(text)


@pytest.mark.parametrize(
    "text",
    [
        "change.fields.exists(f, has(f.after) && ['a', 'b'].exists(x, string(f.after).contains(x)))",
        "change.fields.filter(f, f.path != '').filter(f, has(f.after)).all(f, f.causes.exists(c, c == 'drift'))",
        "change.fields.map(f, f.path)",
        "change.fields.map(f, has(f.after), f.path + '=' + string(f.after))",
        "plan.byTenant.all(t, plan.byTenant[t] < 3)",
        "{'a': 1, 'b': 2}.exists(k, k == change.tenant)",
        "(change.action == 'delete' ? change.risk : change.causes).exists(x, x == 'drift')",
        "[[1, 2], [3]].exists(x, x.exists(y, y == 3))",
        "change.action == " + " + ".join(["'a'"] * MOST_SUMS),
    ],
)
def test_what_people_write_does(text: str) -> None:
    assert compiled(text).text == text
