"""A whole tree compiled in memory: layers, networks, HostSets, secrets, provenance, and what a wrong document leaves unknown."""

# ruff: noqa: E501 - tables read better with one case on a line

from collections.abc import Mapping

import pytest

from reconciler.desired.compile import compile_tree
from reconciler.desired.desired import Desired
from reconciler.desired.explain import leaves, settings
from reconciler.types.values import Secret, SecretRef
from tests.desired.trees import CONTRACT, Texts, token
from tests.fleets import FLEET, NETWORK, PROFILE, fleet, host


def compiled(texts: Mapping[str, str]) -> Desired:
    return compile_tree(Texts.of(texts), CONTRACT, token)


SET = """\
apiVersion: octofleet/v1
kind: HostSet
metadata: {name: workers, tenant: shop, labels: {set: all}}
spec:
  template:
    labels: {tier: worker}
    spec:
      profile: base
      packages: [jq]
"""
MEMBERS = (
    SET
    + """\
  members:
    - name: worker-a
    - name: worker-b
      labels: {tier: special}
      spec: {timezone: Europe/Rome, packages: [gcc]}
"""
)
GENERATED = (
    SET
    + """\
  generate:
    names: worker-%02d
    start: 8
    count: 3
    interface: {name: eth0, network: lan, firstAddress: 192.0.2.254, firstMac: "52:54:00:00:ff:fe"}
"""
)


def test_layers_in_order() -> None:
    mid = PROFILE.replace("name: base", "name: mid").replace(
        "packages: [vim]", "extends: base\n  packages: [mid]\n  timezone: Europe/Paris"
    )
    desired = compiled(
        fleet(hosts=0)
        | {"mid.yaml": mid, "h.yaml": host("web-01", 1, spec="  packages: [own, curl]\n").replace("profile: base", "profile: mid")}
    )
    assert not desired.problems
    found = desired.host("host/shop/web-01")
    assert found is not None
    assert found.values["packages"] == ["curl", "vim", "mid", "own"]
    assert (found.values["timezone"], found.values["locale"], found.values["vars"]) == ("Europe/Paris", "en_US.UTF-8", {"port": 80})
    interface = found.values["interfaces"][0]
    assert (interface["prefix"], interface["gateway"], interface["nameservers"]) == (24, "192.0.2.1", ["192.0.2.53"])
    assert (found.values["name"], found.values["fqdn"], found.values["roles"]) == ("web-01", "web-01", ["web"])


def test_a_hostset_of_members() -> None:
    desired = compiled(fleet(hosts=1, set=MEMBERS))
    assert not desired.problems and list(desired.hosts) == ["host/shop/web-01", "host/shop/worker-a", "host/shop/worker-b"]
    a, b = (desired.host(f"host/shop/worker-{name}") for name in "ab")
    assert a is not None and b is not None
    assert a.values["packages"] == ["curl", "vim", "jq"] and b.values["packages"] == ["curl", "vim", "jq", "gcc"]
    assert a.values["labels"] == {"set": "all", "tier": "worker"} and b.values["labels"]["tier"] == "special"
    said = settings(desired, "host/shop/worker-b", "/timezone")
    assert (said[-1].origin.path, said[-1].origin.line) == ("set.yaml", 14)


def test_a_hostset_that_counts_carries_over() -> None:
    desired = compiled(fleet(hosts=0, set=GENERATED.replace("192.0.2.254", "192.0.2.20")))
    assert not desired.problems
    found = [desired.host(f"host/shop/worker-{n:02d}") for n in (8, 9, 10)]
    interfaces = [item.values["interfaces"][0] for item in found if item]
    assert [item["address"] for item in interfaces] == ["192.0.2.20", "192.0.2.21", "192.0.2.22"]
    assert [item["mac"] for item in interfaces] == ["52:54:00:00:ff:fe", "52:54:00:00:ff:ff", "52:54:00:01:00:00"]


@pytest.mark.parametrize(
    ("text", "message"),
    [(GENERATED, "is not in network lan"), (GENERATED.replace("192.0.2.254", "255.255.255.254"), "there is no address"), (GENERATED.replace("52:54:00:00:ff:fe", "fe:ff:ff:ff:ff:fe").replace("192.0.2.254", "192.0.2.20"), ""), (MEMBERS.replace("worker-b", "worker-a"), "declared")],
)  # fmt: skip
def test_hostsets_that_run_out_or_repeat(text: str, message: str) -> None:
    desired = compiled(fleet(hosts=0, set=text))
    assert any(message in problem.message and problem.origin.line for problem in desired.problems) if message else not desired.problems


def test_secrets_are_sealed_wherever_they_stand() -> None:
    spec = "  vars: {db: {password: {secretRef: {store: env, key: DB}}}}\n  root: {hashed_passwd: {secretRef: {store: env, key: ROOT}}}\n"
    desired = compiled(fleet(hosts=0, h=host("web-01", 1, spec=spec)))
    found = desired.host("host/shop/web-01")
    assert not desired.problems and found is not None
    assert found.values["vars"]["db"]["password"] == Secret(ref=SecretRef(store="env", key="DB"), token="token-shop-env-DB")
    assert isinstance(found.values["root"]["hashed_passwd"], Secret)


def test_every_resolved_value_says_a_line_that_holds_it() -> None:
    texts = fleet(hosts=2, set=MEMBERS)
    desired = compiled(texts)
    checked = 0
    for group in desired.hosts:
        found = desired.host(group)
        assert found is not None
        for pointer, value in leaves(dict(found.values)):
            said = settings(desired, group, pointer)
            if value in ([], {}) or pointer in ("/fqdn",):
                continue
            assert said, f"{group}{pointer} has no origin"
            origin = said[-1].origin
            line = "\n".join(texts[origin.path].splitlines()[origin.line - 1 :][: 12 if origin.line == 1 else 1])
            last = value[-1] if isinstance(value, list) and value else value
            text = "24" if pointer.endswith("/prefix") else str(last)
            assert text in line or pointer.rpartition("/")[2] in line, f"{group}{pointer} = {value!r}: {origin}: {line}"
            checked += 1
    assert checked > 40


def test_a_shared_and_a_private_name() -> None:
    own = PROFILE.replace("{name: base}", "{name: base, tenant: shop}").replace("vim", "nano")
    desired = compiled(fleet(hosts=1, own=own))
    found = desired.host("host/shop/web-01")
    assert found is not None and found.values["packages"] == ["curl", "nano"]
    broken = compiled(fleet(hosts=1, own=own + "  bogus: 1\n"))
    assert set(broken.blocked) == {"host/shop/web-01"} and len(broken.problems) == 1


def test_what_is_wrong_is_unknown_and_the_rest_is_known() -> None:
    desired = compiled(fleet(hosts=3) | {"host-2.yaml": host("web-02", 2, spec="  bogus: 1\n")})
    assert set(desired.blocked) == {"host/shop/web-02"} and not desired.sound
    assert [item.name for scope in desired.scopes() for item in scope.hosts] == ["web-01", "web-03"]
    assert desired.host("host/shop/web-02") is None
    cut = compiled(fleet(hosts=1) | {"cut.yaml": "a: [1\n"})
    assert not cut.sound and not cut.blocked and cut.host("host/shop/web-01")


NIGHTS = """\
apiVersion: octofleet/v1
kind: MaintenanceWindow
metadata: {name: nights}
spec:
  times: [{start: "2026-01-01T01:00", duration: 5h, recurrence: FREQ=DAILY}]
"""


@pytest.mark.parametrize(
    ("drift", "problem"),
    [
        ("{interval: 24h, window: nights}", ""),
        (
            "{interval: 24h, window: night}",
            "fleet.yaml:8:26 reference: there is no MaintenanceWindow night, so no check would ever begin; did you mean nights?",
        ),
        (
            "{interval: 24h, window: shop/nights}",
            "fleet.yaml:8:26 reference: there is no MaintenanceWindow shop/nights, so no check would ever begin; did you mean nights?",
        ),
        (
            '{interval: 24h, times: [{start: "2026-01-01T01:00", duration: 5h, timezone: Europe/Nowhere}]}',
            "fleet.yaml:8:26 window: a time of the drift schedule cannot be understood: there is no time zone Europe/Nowhere; times are local times of a zone of the IANA database, rules are those of RFC 5545",
        ),
    ],
)
def test_a_drift_schedule_that_no_check_would_follow(drift: str, problem: str) -> None:
    desired = compiled(fleet(hosts=1, fleet=f"{FLEET}  drift: {drift}\n", nights=NIGHTS))
    found = [f"{one.origin} {one.code}: {one.message}; {one.hint}" for one in desired.problems]
    assert found == ([problem] if problem else [])
    broken = compiled(fleet(hosts=1, fleet=f"{FLEET}  drift: {{interval: 24h, window: nights}}\n", nights=NIGHTS + "  bogus: 1\n"))
    assert ["bogus" in one.message for one in broken.problems] == [True], "its own problem alone is told"


def test_clashes_see_through_spellings() -> None:
    six = (
        NETWORK.replace("192.0.2.0/24", "2001:db8::/64").replace("  gateway: 192.0.2.1\n", "").replace("  nameservers: [192.0.2.53]\n", "")
    )
    one = host("web-01", 1).replace("192.0.2.11", "2001:db8::a")
    two = host("web-02", 2).replace("192.0.2.12", "2001:db8:0:0:0:0:0:a")
    desired = compiled(fleet(hosts=0, network=six, a=one, b=two))
    assert {problem.code for problem in desired.problems} == {"identity-clash"} and len(desired.blocked) == 2


def test_the_order_of_files_means_nothing() -> None:
    texts = fleet(hosts=3, set=MEMBERS)
    renamed = {f"{index:02d}-{name}": texts[name] for index, name in enumerate(sorted(texts, reverse=True))}
    one, two = compiled(texts), compiled(renamed)
    assert [item.values for scope in one.scopes() for item in scope.hosts] == [
        item.values for scope in two.scopes() for item in scope.hosts
    ]
