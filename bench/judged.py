"""The example fleet's policies over a large plan, judged once: changes, groups. Run as a program.

Prints one JSON object: seconds and CPU seconds of the judgement (compiling the expressions included), those of the floor, policies, groups.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML

from bench.measure import ROOT
from reconciler.gate.expression import activation, condition
from reconciler.gate.group import folded, numbers
from reconciler.gate.policy import Policies, Who
from reconciler.types.change import MISSING, Action, Cause, Change, FieldChange, Risk
from reconciler.types.origin import Origin
from reconciler.types.resource import Rules, address

AT = 1_767_268_800.0
KINDS = ("user-data", "preseed", "kickstart", "network-config")
TENANTS = ("shop", "lab", "office", "plant")
NO_SIDES = (MISSING, MISSING)


def specs() -> dict[str, Any]:
    """The policies, by address."""
    found = {}
    for path in sorted((ROOT / "example-repo" / "policies").glob("*.yaml")):
        for document in YAML(typ="safe").load_all(path.read_text()):
            named = document["metadata"]
            found[address("fleet", "policy", named.get("tenant", ""), named["name"])] = document["spec"]
    return found


def changes(number: int, groups: int) -> Iterator[Change]:
    """Updates of boot files: of each group, users with sudo rules, packages, a disk and a source; every change has fields of its own."""
    for n in range(number):
        group = n % groups
        tenant, kind = TENANTS[group % 4], KINDS[group // 4 % 4]
        causes = frozenset({Cause.DRIFT if group % 9 == 0 else Cause.COMMIT})
        values = (
            ("/values/users", [{"name": "ops", "sudo": ["ALL=(ALL) ALL"]}], [{"name": "ops", "sudo": [f"ALL=(u{group}) ALL"]}]),
            ("/values/packages", ["curl", "vim"], ["curl", f"package-{group}"]),
            ("/values/disk/layout", "direct", "lvm"),
            ("/values/install/source", "https://one.example.net", "https://two.example.net"),
        )
        yield Change(
            address=address("boot", kind, tenant, f"host-{n:06d}"),
            action=Action.UPDATE,
            fields=tuple(FieldChange(path=path, before=before, after=after, causes=causes) for path, before, after in values),
            before_digest="",
            after_digest="",
            desired_digest="",
            rules=Rules(tenant=tenant),
            group=f"host/{tenant}/host-{n:06d}",
            origin=Origin(path=""),
            causes=causes,
            risk=frozenset({Risk.REBOOT} if group % 5 == 0 else ()),
        )


def main(number: int, groups: int) -> None:
    """Judge, and measure the floor: one evaluation of every rule for every group, whose values are ready."""
    known, plan = specs(), list(changes(number, groups))
    began, cpu = time.perf_counter(), time.process_time()
    verdicts = Policies(specs=known, who=Who(), at=AT, hosts=number).judge(plan, lambda change: NO_SIDES)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    assert {verdict.guard for verdict in verdicts} == {"policy/disks-change-with-an-installation"}, [v.message for v in verdicts]

    made = folded(plan, lambda change: NO_SIDES)
    rest = numbers(made, number, AT) | Who().values()
    ready = [{**rest, **group.values, "change.fields": group.fields} for group in made]
    rules = [condition(spec["rule"]) for spec in known.values()]
    cpu = time.process_time()
    for values in ready:
        seen = activation(values)
        for rule in rules:
            rule.holds(seen)
    floor_s = time.process_time() - cpu
    told = {"seconds": seconds, "cpu_s": cpu_s, "floor_s": floor_s, "policies": len(known), "groups": len(made)}
    print(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
