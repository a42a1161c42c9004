"""Policies on the command line: a refused plan names the policy, its line and why; the one in force is the one applied last."""

from pathlib import Path

import pytest

from tests.cli.command import quick
from tests.fleets import Repo, Result, fleet, host, octofleet, repo

POLICY = """\
# Packages that nobody wants.
apiVersion: octofleet/v1
kind: Policy
metadata: {name: no-telnet, tenant: shop}
spec:
  when: change.driver == 'boot'
  rule: |
    change.count > 0 &&
    !change.fields.exists(f, f.path.matches('/packages/[0-9]+$') && has(f.after) && f.after == 'telnet')
  message: "{change.tenant} gets no telnet"
  hint: leave it out
  examples:
    - {name: an update, passes: true}
    - name: telnet
      change: {driver: boot, fields: [{path: /values/packages, after: [telnet]}]}
      passes: false
"""
LOOSE = POLICY.replace("'telnet'", "'telnetd'").replace("[telnet]", "[telnetd]")
TELNET = host("web-01", 1, spec="  packages: [telnet]\n")
CLAUSE = "!change.fields.exists(f, f.path.matches('/packages/[0-9]+$') && has(f.after) && f.after == 'telnet')"


class Place:
    """A fleet whose policy was applied."""

    def __init__(self, path: Path) -> None:
        self.repo: Repo = repo(path / "repo", fleet(hosts=2, policy=POLICY))
        self.data = path / "data"
        assert self("apply", "--approve").code == 0

    def __call__(self, *args: str) -> Result:
        return quick(self.data, *args, "--repo", str(self.repo.path))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_refused_plan_names_the_policy_its_line_and_why(place: Place, tmp_path: Path) -> None:
    place.repo.commit({"host-1.yaml": TELNET})
    shown = octofleet(place.data, "plan", "--repo", str(place.repo.path))
    assert shown.code == 3
    why = f"shop gets no telnet ({CLAUSE}), rule at policy.yaml:9:5, for update boot/user-data/shop/web-01"
    assert f"REFUSED by the guard policy/shop/no-telnet: {why}\n  next: leave it out\n" in shown.out
    assert "Verdict: a guard refuses this plan: nothing will be applied." in shown.out
    plan = place("plan", "--json").json
    assert not plan["applyable"]
    assert plan["guards"] == [
        {
            "guard": "policy/shop/no-telnet",
            "refuses": True,
            "message": why,
            "hint": "leave it out",
            "addresses": ["boot/user-data/shop/web-01"],
        }
    ]
    page = tmp_path / "plan.md"
    assert place("plan", "--out", str(page)).code == 3
    assert "> **Refused by the guard `policy/shop/no-telnet`**: `shop gets no telnet (!change" in page.read_text()
    refused = quick(place.data, "apply", plan["id"][:12], "--approve")
    assert refused.code in (1, 3) and "refused by the guard policy/shop/no-telnet" in refused.text
    assert place("apply", "--approve").code == 3


def test_a_policy_that_one_commit_loosens_and_uses_is_the_one_applied_last(place: Place) -> None:
    place.repo.commit({"host-1.yaml": TELNET, "policy.yaml": LOOSE})
    shown = place("plan")
    assert shown.code == 3
    assert f"{CLAUSE}), line 2 of its rule as applied last, which this commit does not have" in shown.out
    place.repo.commit({"policy.yaml": None})
    assert place("apply", "--approve").code == 3, "nor can it be removed and used"
    place.repo.commit({"policy.yaml": LOOSE})
    assert place("apply", "--approve", "--scope", "fleet/policy/*").code == 0
    assert place("apply", "--approve").code == 0


def test_a_first_plan_is_judged_by_no_policy_and_the_next_one_by_all(tmp_path: Path) -> None:
    everything = POLICY.replace("change.count > 0", "change.count < 0 || change.count > 99")
    everything = everything.replace("when: change.driver == 'boot'", "when: change.driver != ''").replace(
        "passes: true", "change: {count: 100}, passes: true"
    )
    made = repo(tmp_path / "repo", fleet(hosts=1, policy=everything))
    where = ("--repo", str(made.path))
    assert quick(tmp_path / "data", "apply", "--approve", *where).code == 0
    made.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n"), "policy.yaml": POLICY})
    assert quick(tmp_path / "data", "apply", "--approve", *where).code == 3
    assert quick(tmp_path / "data", "apply", "--approve", "--scope", "fleet/policy/*", *where).code == 0, (
        "a policy that refuses all can be mended"
    )
    assert quick(tmp_path / "data", "apply", "--approve", *where).code == 0


def test_a_warning_is_told_and_the_plan_is_applied(place: Place) -> None:
    place.repo.commit({"policy.yaml": POLICY.replace("  hint:", "  severity: warn\n  hint:")})
    assert place("apply", "--approve").code == 0
    place.repo.commit({"host-1.yaml": TELNET})
    shown = place("plan")
    assert shown.code == 2 and "WARNING of the guard policy/shop/no-telnet: shop gets no telnet" in shown.out
    assert place("apply", "--approve").code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (POLICY.replace("change.count > 0", "change.cuont > 0"), "policy.yaml:8:11: undeclared reference to 'change.cuont'"),
        (POLICY.replace("'telnet')", "7)"), "policy.yaml:16:7: the example 'telnet' says passes: false, and the policy lets it pass"),
        (POLICY.replace("  rule: |\n", "  rule: >-\n").replace("count > 0", "count > ''"), "policy.yaml:7:3: found no matching overload"),
        (POLICY.replace("== 'boot'", "== 1"), "policy.yaml:6:23: found no matching overload for '_==_' applied to '(string, int)'"),
        (POLICY.replace("{change.tenant}", "{change.tennant}"), "policy.yaml:10:20: undeclared reference to 'change.tennant'"),
        (POLICY.replace("passes: false", "passes: true"), "policy.yaml:12:3: no example has passes: false"),
        (POLICY.replace("  message", "  mesage"), "policy.yaml:5:1: spec lacks the field message"),
    ],
)
def test_validate_tells_where_a_policy_is_wrong_and_it_is_not_applied(place: Place, text: str, said: str) -> None:
    place.repo.commit({"host-1.yaml": TELNET})
    place.repo.commit({"policy.yaml": text})
    found = place("validate")
    assert found.code == 1 and said in found.out
    place.repo.commit({"note.txt": "nothing to do with it"})
    assert said in place("validate").out, "the index remembers it"
    plan = place("plan", "--json").json
    assert "fleet/policy/shop/no-telnet" in [item["address"] for item in plan["deferred"]]
    assert [verdict["guard"] for verdict in plan["guards"]] == ["policy/shop/no-telnet"], "the one applied last stays in force"
    place.repo.commit({"policy.yaml": f"\n{POLICY}"})
    assert place("validate").code == 0
    assert "rule at policy.yaml:10:5" in place("plan").out


SECRETS = """\
apiVersion: octofleet/v1
kind: Policy
metadata: {name: look}
spec:
  rule: "!change.fields.exists(f, f.path.endsWith('/p') && type(f.after) == map)"
  message: "it sees {change.fields}"
  examples:
    - {name: nothing, passes: true}
    - name: a secret
      change: {fields: [{path: /vars/p, after: {secretRef: {store: env, key: P}}}]}
      passes: false
"""


def test_a_secret_reaches_no_policy(tmp_path: Path) -> None:
    """Neither its value nor its token: what a policy sees of it is what it refers to."""
    made, data = repo(tmp_path / "repo", fleet(hosts=1, policy=SECRETS)), tmp_path / "data"
    config = tmp_path / "octofleet.toml"
    config.write_text('[secrets.stores.env]\ntype = "env"\nprefix = "S_"\ntenants = ["shop"]\n')
    env = {"OCTOFLEET_CONFIG": str(config), "S_P": "only-for-this-test"}
    where = ("--repo", str(made.path))
    assert octofleet(data, "apply", "--approve", *where, env=env).code == 0
    made.commit({"host-1.yaml": host("web-01", 1, spec="  vars: {p: {secretRef: {store: env, key: P}}}\n")})
    shown = octofleet(data, "plan", *where, env=env)
    assert shown.code == 3, shown.text
    assert "REFUSED by the guard policy/look: it sees" in shown.out and "{'secret': 'env/P'}" in shown.out
    assert "only-for-this-test" not in shown.text
    token = octofleet(data, "plan", "--json", *where, env=env).out
    assert "token" not in token
