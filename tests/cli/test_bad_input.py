"""Every sort of bad input: exit 1, each problem as path:line:column with what and the next step, no traceback, nothing half-written."""

# ruff: noqa: E501 - tables read better with one case on a line

import re
from pathlib import Path

import pytest

import schemas
from tests.cli.command import quick
from tests.fleets import FLEET, NETWORK, PROFILE, ROLE, TENANT, Repo, fleet, host, repo

OTHER_TENANT = "apiVersion: octofleet/v1\nkind: Tenant\nmetadata: {name: lab}\nspec: {}\n"
PRIVATE = "apiVersion: octofleet/v1\nkind: Profile\nmetadata: {name: secretive, tenant: lab}\nspec: {}\n"
LOOP = "apiVersion: octofleet/v1\nkind: Profile\nmetadata: {name: %s}\nspec:\n  extends: %s\n"
LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"

CASES: dict[str, tuple[dict[str, str | bytes | None], str]] = {
    # name: (files over a valid fleet, what the output has to say)
    "duplicate-key": ({"bad.yaml": "a: 1\nb: 2\na: 3\n"}, r"bad\.yaml:3:1: .*a"),
    "alias-bomb": ({"bad.yaml": LAUGHS}, r"bad\.yaml:1:4: "),
    "deep-nesting": ({"bad.yaml": "a: " + "[" * 500 + "]" * 500}, r"bad\.yaml:1:\d+: .*nested"),
    "nul": ({"bad.yaml": b"a: b\nc: d\0e\n"}, r"bad\.yaml:2:5: "),
    "not-utf-8": ({"bad.yaml": b"a: b\nc: \xff\xfe\n"}, r"bad\.yaml:2:4: .*UTF-8"),
    "huge-file": ({"bad.yaml": b"# " + b"x" * (5 * 1024 * 1024)}, r"bad\.yaml(:\d+:\d+)?: .*MiB"),
    "syntax": ({"bad.yaml": "a: [1, 2\nb: }\n"}, r"bad\.yaml:2:\d+: "),
    "unknown-field": ({"host-1.yaml": host("web-01", 1, spec="  packges: [x]\n")}, r"host-1\.yaml:14:3: .*packges.*did you mean packages"),
    "wrong-type": ({"host-1.yaml": host("web-01", 1, spec="  packages: vim\n")}, r"host-1\.yaml:14:3: packages must be a list"),
    "wrong-version": ({"bad.yaml": "apiVersion: v1\nkind: Host\n"}, r"bad\.yaml:1:1: apiVersion must be octofleet/v1"),
    "not-a-manifest": ({"bad.yaml": "- just\n- a list\n"}, r"bad\.yaml:1:1: a manifest is a map"),
    "unknown-kind": ({"bad.yaml": "apiVersion: octofleet/v1\nkind: Hots\nmetadata: {name: x}\n"}, r"bad\.yaml:2:1: there is no kind 'Hots'.*Host"),
    "missing-reference": ({"host-1.yaml": host("web-01", 1).replace("profile: base", "profile: bsae")}, r"host-1\.yaml:7:3: there is no Profile bsae.*did you mean base"),
    "missing-role": ({"host-1.yaml": host("web-01", 1).replace("[web]", "[web, wbe]")}, r"host-1\.yaml:8:16: there is no Role wbe.*did you mean web"),
    "missing-network": ({"host-1.yaml": host("web-01", 1).replace("network: lan", "network: lna")}, r"host-1\.yaml:9:3: there is no Network lna.*did you mean lan"),
    "missing-tenant": ({"host-1.yaml": host("web-01", 1, tenant="shpo")}, r"host-1\.yaml:5:3: there is no Tenant shpo.*did you mean shop"),
    "inheritance-circle": ({"p1.yaml": LOOP % ("p1", "p2"), "p2.yaml": LOOP % ("p2", "p1")}, r"p[12]\.yaml:5:3: profiles extend each other in a circle: p\d -> p\d -> p\d"),
    "other-tenants-profile": ({"lab.yaml": OTHER_TENANT, "p.yaml": PRIVATE, "host-1.yaml": host("web-01", 1).replace("profile: base", "profile: secretive")}, r"host-1\.yaml:7:3: there is no Profile secretive for tenant shop"),
    "other-tenants-profile-by-path": ({"lab.yaml": OTHER_TENANT, "p.yaml": PRIVATE, "host-1.yaml": host("web-01", 1).replace("profile: base", "profile: lab/secretive")}, r"host-1\.yaml:7:3: "),
    "mac-clash": ({"host-2.yaml": host("web-02", 2).replace("00:02", "00:01")}, r"host-[12]\.yaml:9:3: host/shop/web-0[12] has the MAC 52:54:00:00:00:01.*web-0"),
    "ip-clash": ({"host-2.yaml": host("web-02", 2).replace("192.0.2.12", "192.0.2.11")}, r"host-[12]\.yaml:9:3: host/shop/web-0[12] has the address 192\.0\.2\.11 in network/lan"),
    "ip-outside": ({"host-2.yaml": host("web-02", 2).replace("192.0.2.12", "198.51.100.1")}, r"host-2\.yaml:9:3: 198\.51\.100\.1 is not in network lan"),
    "two-hosts-of-one-name": ({"again.yaml": host("web-01", 9)}, r"host-1\.yaml:1:1: host/shop/web-01 is declared twice; the first is at again\.yaml:1:1"),
    "two-fleets": ({"g.yaml": FLEET.replace("name: test", "name: second")}, r"g\.yaml:1:1: a repository has one Fleet; test is declared at fleet\.yaml:1:1"),
    "no-fleet": ({"fleet.yaml": None}, r"the repository has no Fleet.*octofleet init"),
    "host-bits": ({"network.yaml": NETWORK.replace("192.0.2.0/24", "192.0.2.9/24"), "host-1.yaml": host("web-01", 1).replace("192.0.2.11", "10.0.0.1")}, r"network\.yaml:\d+:\d+: |is not in network lan"),
    "bad-name": ({"bad.yaml": host("Web_01", 9)}, r"bad\.yaml:4:3: name must be a DNS label"),
    "host-without-tenant": ({"bad.yaml": host("web-09", 9).replace("  tenant: shop\n", "")}, r"bad\.yaml:3:1: metadata lacks the field tenant"),
}  # fmt: skip
CASES |= {
    f"planned-{kind}": (
        {"bad.yaml": f"apiVersion: octofleet/v1\nkind: {kind}\nmetadata: {{name: x}}\n"},
        rf"bad\.yaml:2:1: the kind {kind} is not accepted yet",
    )
    for kind in schemas.PLANNED
}


def changed(tmp_path: Path, files: dict[str, str | bytes | None]) -> Repo:
    made = repo(tmp_path / "repo")
    made.commit(files)
    return made


@pytest.mark.parametrize("name", CASES)
def test_bad_input(tmp_path: Path, name: str) -> None:
    files, said = CASES[name]
    made = changed(tmp_path, files)
    data = tmp_path / "data"
    result = quick(data, "validate", "--repo", str(made.path))
    assert result.code == 1, result.text
    assert re.search(said, result.text), result.text
    assert "Traceback" not in result.text and "internal error" not in result.text
    document = quick(data, "validate", "--repo", str(made.path), "--json")
    assert document.code == 1
    problems = document.json["problems"]
    assert problems and document.json["valid"] is False
    for problem in problems:
        assert problem["message"] and problem["path"]
        assert problem["line"] > 0 or name in ("no-fleet", "huge-file")
    assert problems == sorted(problems, key=lambda p: (p["path"], p["line"], p["column"]))


def test_all_problems_come_in_one_pass(tmp_path: Path) -> None:
    files = {f"bad-{n}.yaml": "a: 1\na: 2\n" for n in range(3)} | {
        "host-1.yaml": host("web-01", 1, spec="  packages: vim\n  tiemzone: UTC\n")
    }
    result = quick(tmp_path / "data", "validate", "--repo", str(changed(tmp_path, files).path))
    assert len([line for line in result.out.splitlines() if re.match(r"[\w.-]+:\d+:\d+: ", line)]) == 5


def test_a_broken_file_blocks_its_dependents_and_all_deletes_and_nothing_else(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo", fleet(hosts=4))
    data, where = tmp_path / "data", str(made.path)
    assert quick(data, "apply", "--approve", "--repo", where).code == 0
    made.commit(
        {
            "host-1.yaml": host("web-01", 1, spec="  packages: vim\n"),
            "host-2.yaml": None,
            "host-3.yaml": host("web-03", 3, spec="  packages: [htop]\n"),
        }
    )
    result = quick(data, "plan", "--json", "--repo", where)
    assert result.code == 1
    plan = result.json
    assert {change["group"] for change in plan["changes"]} == {"host/shop/web-03"}
    assert not {change["action"] for change in plan["changes"]} & {"delete", "forget"}
    codes = {(item["address"].split("/")[3].split(".")[0], item["code"]) for item in plan["deferred"]}
    assert codes == {("web-01", "desired-unknown"), ("web-02", "deletes-stopped")}
    assert plan["applyable"] and not plan["complete"]
    assert quick(data, "apply", "--approve", "--repo", where).code == 1
    after = quick(data, "plan", "--json", "--refresh", "--repo", where).json
    assert not after["changes"] and len(after["deferred"]) == len(plan["deferred"])


@pytest.mark.parametrize("broken", [PROFILE, NETWORK, ROLE, TENANT], ids=["profile", "network", "role", "tenant"])
def test_a_wrong_shared_manifest_is_unknown_and_not_absent(tmp_path: Path, broken: str) -> None:
    made = repo(tmp_path / "repo", fleet(hosts=1))
    data, where = tmp_path / "data", str(made.path)
    assert quick(data, "apply", "--approve", "--repo", where).code == 0
    name = {PROFILE: "profile", NETWORK: "network", ROLE: "role", TENANT: "tenant"}[broken] + ".yaml"
    made.commit({name: broken + "  bogus: 1\n"})
    result = quick(data, "plan", "--json", "--repo", where)
    assert result.code == 1 and not result.json["changes"], result.json["changes"]
    assert {item["code"] for item in result.json["deferred"]} <= {"desired-unknown", "deletes-stopped"}
    assert len(result.json["problems"]) == 1, "what follows from one mistake is not told again"


def test_a_tenants_own_broken_profile_is_not_replaced_by_the_shared_one(tmp_path: Path) -> None:
    own = PROFILE.replace("{name: base}", "{name: base, tenant: shop}")
    made = repo(tmp_path / "repo", fleet(hosts=1) | {"own.yaml": own})
    data, where = tmp_path / "data", str(made.path)
    assert quick(data, "apply", "--approve", "--repo", where).code == 0
    made.commit({"own.yaml": own + "  bogus: 1\n"})
    assert not quick(data, "plan", "--json", "--repo", where).json["changes"]


def test_a_symbolic_link_is_unknown_desired(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo", fleet(hosts=1))
    (made.path / "link.yaml").symlink_to("host-1.yaml")
    made.commit({})
    result = quick(tmp_path / "data", "validate", "--repo", str(made.path))
    assert result.code == 1 and re.search(r"link\.yaml: a symbolic link", result.text), result.text


@pytest.mark.parametrize("command", ["validate", "plan", "apply"])
@pytest.mark.parametrize(
    ("files", "why"), [({".octofleetignore": b"\xff\n"}, "it is not UTF-8"), ({".octofleetignore/x": "y\n"}, "it is a directory")]
)
def test_an_ignore_file_that_cannot_be_read(tmp_path: Path, command: str, files: dict[str, str | bytes | None], why: str) -> None:
    made = repo(tmp_path / "repo")
    made.commit(files)
    done = quick(tmp_path / "data", command, "--repo", str(made.path))
    assert done.code == 1 and f".octofleetignore: the ignore file cannot be read: {why} (make it a text file" in done.err, done.text
