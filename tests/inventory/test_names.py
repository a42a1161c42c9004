"""What hosts are called, and what is told of values that are not to be told."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers.ansible.dynamic import LATER, SECRET, names, told
from reconciler.types.host import ResolvedHost
from reconciler.types.origin import Origin
from reconciler.types.values import KnownAfter, Secret, SecretRef

words = st.sampled_from(("a", "b", "web"))
keys = st.sets(st.tuples(words, words, words), max_size=12)


@given(keys)
def test_no_host_shadows_another(found: set[tuple[str, str, str]]) -> None:
    called = names(sorted(found))
    assert set(called) == found and len(set(called.values())) == len(found)
    for (fleet, tenant, name), said in called.items():
        assert said in (name, f"{tenant}.{name}", f"{fleet}.{tenant}.{name}")


def test_a_name_is_no_longer_than_it_must_be() -> None:
    called = names([("f", "shop", "web"), ("f", "bank", "web"), ("g", "bank", "web"), ("f", "bank", "db")])
    assert list(called.values()) == ["shop.web", "f.bank.web", "g.bank.web", "db"]


def test_facts_are_never_templates_and_vars_may_be() -> None:
    """No schema lets a fact have a brace; whatever comes to facts later is not to be one that runs."""
    own = {
        "plain": "{{ 1 }}",
        "secret": [Secret(ref=SecretRef(store="s", key="k"), token="t")],
        "later": KnownAfter(address="a/b/c/d", path="/ip"),
    }
    host = ResolvedHost(
        name="web",
        tenant="shop",
        values={"timezone": "{{ 1 }}", "labels": {"a": "{% x %}", "b": "plain"}, "vars": own},
        roles=(),
        origin=Origin(path="f"),
    )
    variables, groups = told(host, "deploy")
    assert variables["plain"] == "{{ 1 }}" and variables["secret"] == [SECRET] and variables["later"] == LATER
    assert variables["octofleet"]["timezone"] == {"__ansible_unsafe": "{{ 1 }}"}
    assert variables["octofleet"]["labels"] == {"a": {"__ansible_unsafe": "{% x %}"}, "b": "plain"}
    assert (variables["ansible_host"], variables["ansible_user"]) == ("web", "deploy")
    assert groups == ("label_a____x___", "label_b_plain", "tenant_shop")
