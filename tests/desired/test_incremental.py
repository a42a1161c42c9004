"""A view on a compiled tree, and an index that is brought from tree to tree, say what compiling from nothing says: for any sequence of edits."""

# ruff: noqa: E501 - tables read better with one case on a line

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler.desired.compile import compile_tree, settle
from reconciler.desired.desired import Desired
from reconciler.index.file import Index
from reconciler.index.state import State
from tests.desired.trees import CONTRACT, Texts, token
from tests.fleets import FLEET, NETWORK, PROFILE, ROLE, TENANT, host

PLAY = "- hosts: all\n  tasks: []\n"
ANSIBLE = ROLE.replace("vars: {port: 80}", "ansible: {playbook: ansible/site.yaml}")
SET = """\
apiVersion: octofleet/v1
kind: HostSet
metadata: {name: workers, tenant: shop}
spec:
  template: {spec: {profile: base}}
  generate: {names: worker-%d, start: 1, count: COUNT, interface: {name: eth0, network: lan, firstAddress: 192.0.2.FIRST}}
"""


POLICY = """\
apiVersion: octofleet/v1
kind: Policy
metadata: {name: small, tenant: shop}
spec:
  rule: change.count < 5
  message: "{change.count} at once"
  examples:
    - {name: few, passes: true}
    - {name: many, change: {count: 9}, passes: false}
"""


CHOOSING = """\
apiVersion: octofleet/v1
kind: Role
metadata: {name: audited}
spec:
  match: {labels: {tier: web}}
  vars: {audit: true}
"""


def variants() -> dict[str, list[str]]:
    """For each file, the texts that it may hold."""
    web = [host(f"web-0{n}", n) for n in (1, 2, 3)]
    return {
        "fleet.yaml": [FLEET, FLEET.replace("UTC", "Europe/Berlin"), FLEET + "  guards: {maxDeleteFloor: 9}\n", "a: [1\n"],
        "more.yaml": [FLEET.replace("test", "other"), host("web-01", 7), "", "not a manifest\n"],
        "tenant.yaml": [TENANT, TENANT.replace("en_US", "de_DE"), TENANT + "  displayName: Shop\n"],
        "net.yaml": [NETWORK, NETWORK.replace("192.0.2.0/24", "192.0.2.0/28"), NETWORK.replace("192.0.2.1\n", "192.0.3.1\n")],
        "profile.yaml": [PROFILE, PROFILE.replace("vim", "nano"), PROFILE + "  extends: top\n", PROFILE + "  bogus: 1\n", PROFILE + "---\n" + ROLE],
        "own.yaml": [PROFILE.replace("{name: base}", "{name: base, tenant: shop}"), PROFILE.replace("{name: base}", "{name: base, tenant: shop}") + "  x: 1\n"],
        "top.yaml": [PROFILE.replace("name: base", "name: top"), PROFILE.replace("name: base", "name: top") + "  extends: base\n"],
        "role.yaml": [ROLE, ROLE.replace("80", "81"), ANSIBLE, ANSIBLE.replace("ansible/", "hosts/"), "---\n" + ROLE],
        "ansible/site.yaml": [PLAY, PLAY + "# more\n", host("web-09", 9)],
        "hosts/one.yaml": [web[0], web[0].replace(":01\"", ":02\""), web[0] + "  timezone: Asia/Tokyo\n", host("web-01", 1, metadata="  labels: {tier: web}\n"), host("web-01", 1, metadata="  moved: {from: old}\n")],
        "hosts/two.yaml": [web[1], "# a line\n" + web[1], host("web-02", 1), host("web-02", 2, metadata="  moved: {from: old}\n"), web[1] + "  bogus: 1\n"],
        "hosts/many.yaml": ["---\n".join(web), "---\n".join(web[1:]), web[2] + "---\n" + host("web-04", 4), web[2].replace("roles: [web]", "roles: [db]")],
        "hosts/secret.yaml": [host("web-05", 5, spec="  vars: {p: {secretRef: {store: env, key: DB}}}\n"), host("web-05", 5, spec="  templates: {ipxe: t/one.j2}\n")],
        "set.yaml": [SET.replace("COUNT", "2").replace("FIRST", "20"), SET.replace("COUNT", "3").replace("FIRST", "10"), SET.replace("COUNT", "2").replace("192.0.2.FIRST", "255.255.255.255")],
        "policy.yaml": [POLICY, "# a line\n" + POLICY, POLICY.replace("< 5", "< 50"), "\n" + POLICY.replace("change.count < 5", "change.cuont < 5"), "---\n".join([POLICY.replace("< 5", "< 50")] * 2), POLICY + "  bogus: 1\n"],
        "choosing.yaml": [CHOOSING, CHOOSING.replace("true", "false"), CHOOSING.replace("labels: {tier: web}", "scopes: [host/shop/w*-01]"), CHOOSING.replace("labels: {tier: web}", "profiles: [base]"), CHOOSING.replace("  match: {labels: {tier: web}}\n", ""), CHOOSING.replace("{name: audited}", "{name: audited, tenant: shop}").replace("true", "own"), CHOOSING + "  bogus: 1\n", CHOOSING + "a: [1\n", CHOOSING + "---\n" + CHOOSING.replace("audited", "web")],
        "t/one.j2": ["one", "two"],
        ".octofleetignore": ["hosts/two.yaml\n", ""],
    }  # fmt: skip


VARIANTS = variants()
START = {path: texts[0] for path, texts in VARIANTS.items() if path not in ("more.yaml", "own.yaml", ".octofleetignore")}
EDIT = st.sampled_from(sorted(VARIANTS)).flatmap(lambda path: st.tuples(st.just(path), st.sampled_from([None, *VARIANTS[path]])))
COMMITS = st.lists(st.lists(EDIT, min_size=1, max_size=3), min_size=1, max_size=4)


def edited(texts: Mapping[str, str], edits: list[tuple[str, str | None]]) -> dict[str, str]:
    found: dict[str, Any] = dict(texts) | dict(edits)
    return {path: text for path, text in found.items() if text is not None}


def said(desired: Desired) -> dict[str, Any]:
    values = {
        host.group: (dict(host.values), host.roles, host.origin, host.moved_from) for scope in desired.scopes() for host in scope.hosts
    }
    return {
        "problems": [str(problem) for problem in desired.problems],
        "blocked": dict(desired.blocked),
        "hosts": list(desired.hosts),
        "number": len(desired.hosts),
        "fleet": desired.fleet and dict(desired.fleet.spec),
        "values": values,
        "rules": [(rule.group, rule.spec, rule.origin) for scope in desired.scopes() for rule in scope.rules],
        "tenants": [tenant.name for scope in desired.scopes() for tenant in scope.tenants],
    }


def kept(index: Index) -> dict[str, Any]:
    """What the index says of its tree, whatever ids its sets of inputs have. The inputs of what is unknown do not matter: it is always looked at again."""
    names = "CASE WHEN problem IS NULL THEN names END, CASE WHEN problem IS NULL THEN identity END"
    rows = index.rows(
        f"SELECT ref, path, number, member, hex(blob), {names}, problem, moved FROM manifest LEFT JOIN inputs ON id = inputs ORDER BY 1, 2, 3, 4"
    )
    others = {table: sorted(index.rows(f"SELECT * FROM {table}")) for table in ("identity", "bad", "project", "finding", "secret")}
    return {"manifest": rows, "hosts": State(index).hosts} | others


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(commits=COMMITS, views=st.booleans())
@example(commits=[[("t/one.j2", "two")], [("policy.yaml", "# a line\n" + POLICY)]], views=True)
def test_any_history(commits: list[list[tuple[str, str | None]]], views: bool) -> None:
    known: dict[str, Texts] = {}
    texts: dict[str, str] = dict(START)
    index = Index(None, "0" * 64)
    settle(Texts.of(texts, known), CONTRACT, token, index)
    for edits in commits:
        texts = edited(texts, edits)
        tree = Texts.of(texts, known)
        fresh = Index(None, "0" * 64)
        cold = compile_tree(tree, CONTRACT, token, fresh)
        before = kept(index)
        view = compile_tree(tree, CONTRACT, token, index)
        assert said(view) == said(cold)
        if ".octofleetignore" not in dict(edits):
            assert kept(index) == before
        if not views:
            assert said(settle(tree, CONTRACT, token, index)) == said(cold)
            assert kept(index) == kept(fresh)
