"""A plan as text, Markdown and JSON: golden files (`UPDATE_GOLDEN=1` renews them), and text from users and hosts that tries to break out."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.plan.build import build
from reconciler.report.as_html import plan_html
from reconciler.report.as_json import plan_document
from reconciler.report.markdown import plan_markdown
from reconciler.report.markup import block, code
from reconciler.report.text import plan_lines
from reconciler.report.view import View, previous
from reconciler.types.change import MISSING, Cause, FieldChange
from reconciler.types.origin import Origin
from reconciler.types.plan import Phase, Plan
from reconciler.types.problem import Problem
from reconciler.types.values import Secret, SecretRef
from tests.plan.made import ABSENT, AT, UNKNOWN, case, frame, proposed, recorded, resource, rules

GOLDEN = Path(__file__).parent / "golden"
SECRET = Secret(ref=SecretRef(store="vault", key="db#password"), token="0" * 64)
PROTECTED = rules(protect=True)


def disks() -> Plan:
    """Creations, a fold of two, a replacement, a refused delete, a deferral, drift, a run with a diff and a blind spot, a problem."""
    same = {"size": 1, "mode": "rw"}
    run = replace(proposed("/tasks/motd/content"), blind_spots=("reload (site.yml:9): check mode does not run a command",))
    run = replace(run, fields=tuple(replace(field, diff="--- before\n+++ after\n-old\n+new\n") for field in run.fields))
    cases = [
        case("d/disk/t/new", desired=same, seen=ABSENT),
        case("d/file/t/one", desired={"zone": "Europe/Berlin"}, record={"zone": "UTC"}, base={"zone": "UTC"}, seen={"zone": "UTC"}),
        case("d/file/t/two", desired={"zone": "Europe/Berlin"}, record={"zone": "UTC"}, base={"zone": "UTC"}, seen={"zone": "UTC"}),
        case("d/file/t/drifted", desired=same, record=same, base=same, seen={"size": 1, "mode": "ro"}),
        case("d/disk/t/bigger", desired={"size": 2}, record={"size": 1}, base={"size": 1}, seen={"size": 1}),
        case("d/disk/t/kept", record=recorded("d/disk/t/kept", same, PROTECTED), recorded_spec=same, seen=same),
        case("d/disk/t/silent", desired=same, seen=UNKNOWN),
        case(
            "d/file/t/secret", desired={"password": SECRET}, record={"password": "old"}, base={"password": "old"}, seen={"password": "old"}
        ),
        case("d/role/t/play", desired={"vars": {}}, record={"vars": {}}, base={"vars": {}}, seen=run),
    ]
    problem = Problem(origin=Origin(path="hosts/x.yaml", line=3, column=5), code="schema", message="there is no field oz", hint="")
    return build(frame(base="c0", counts={("d", "disk"): 4, ("d", "file"): 4}, hosts=9, problems=(problem,), observed_from=AT - 600), cases)


def view(plan: Plan) -> View:
    return View(plan=plan, where=lambda change, item: Origin(path="profiles/p.yaml", line=7, column=3), now=AT)


def rendered(suffix: str, plan: Plan) -> str:
    match suffix:
        case "json":
            return json.dumps(plan_document(view(plan)), indent=1, ensure_ascii=False) + "\n"
        case "md":
            return plan_markdown(view(plan))
        case _:
            return "".join(f"{line.style:<7}|{line.text}\n" for line in plan_lines(view(plan)))


@pytest.mark.parametrize("suffix", ["txt", "md", "json"])
@pytest.mark.parametrize("name", ["disks", "nothing"])
def test_a_plan_reads_as_in_the_golden_file(name: str, suffix: str) -> None:
    plan = disks() if name == "disks" else build(frame(), [])
    said, path = rendered(suffix, plan), GOLDEN / f"{name}.{suffix}"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(said)
    assert said == path.read_text()


def test_a_secret_shows_only_what_it_refers_to() -> None:
    for suffix in ("txt", "md", "json"):
        said = rendered(suffix, disks())
        assert "vault/db#password" in said
        assert SECRET.token not in said


HOSTILE = [
    "\x1b[31mred",
    "a`b``c",
    "|cell|",
    "@everyone",
    "<script>",
    "```\nout",
    "line\nbreak",
    "\u202eevil",
    "[x](http://x)",
    "</details>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_place(text: str) -> None:
    plan = build(frame(), [case(desired=resource("d/file/t/a", {"zone": text}), seen={"zone": "UTC"}, where="d/file/t/a")])
    lines = [line.text for line in plan_lines(view(plan))]
    assert all(char.isprintable() for line in lines for char in line)
    marked = plan_markdown(view(plan))
    quoted = code(text)
    fence = quoted[: len(quoted) - len(quoted.lstrip("`"))]
    assert quoted.endswith(fence)
    assert fence not in quoted[len(fence) : -len(fence)]
    assert "\x1b" not in marked
    assert "\u202e" not in marked


def test_a_code_block_outlasts_its_content() -> None:
    made = block("````\nnot the end\n```")
    assert made.splitlines()[0] == "`````diff"
    assert made.splitlines()[-1] == "`````"


def test_the_json_of_a_plan_has_what_the_reference_promises() -> None:
    document = plan_document(view(disks()))
    promised = {"id", "commit", "base", "applyable", "complete", "summary", "changes", "deferred", "guards", "problems"}
    assert promised <= document.keys()
    assert document["summary"]["byAction"] == {"create": 1, "update": 4, "replace": 1, "delete": 1, "run": 1}
    assert document["applyable"] is False
    assert document["complete"] is False


def test_what_is_gone_in_the_world_does_not_change_to_itself() -> None:
    item = FieldChange(path="/zone", causes=frozenset({Cause.DRIFT}), recorded="UTC", before=MISSING, after="UTC")
    assert previous(item) is MISSING
    assert previous(replace(item, after="Europe/Oslo")) == "UTC", "what was not seen is told as it was recorded"
    assert previous(replace(item, before="CET")) == "CET"


def test_a_part_of_a_rollout_and_its_check_are_one_line() -> None:
    part = Phase(tenant="t", track="web", number=0, title="canary", groups=("host/t/a",), max_failures=1)
    check = replace(part, number=1, title="canary: health", soak_s=5.0, check=True)
    rest = replace(part, number=2, title="the rest", groups=("host/t/b", "host/t/c"), promote=True)
    told = [line.text for line in plan_lines(View(plan=replace(disks(), phases=(part, check, rest))))]
    start = told.index("ROLLOUT web of t: 3 hosts in 2 parts; it stops when more than 1 host has failed")
    assert told[start + 1 : start + 3] == [
        "  1. canary: a; looked at again after 5 s",
        "  2. the rest, when a person promotes it: b, c",
    ]


def test_a_plan_as_a_file_for_browsers() -> None:
    text = plan_html(view(disks())).decode()
    assert "d/disk/t/bigger" in text and text.index("<h2>Destructive") < text.index("<h2>Changes") and "profiles/p.yaml:7:3" in text
    assert "vault/db#password" in text and "0" * 64 not in text and ">old<" not in text
    assert "href=" not in text and "src=" not in text, "nothing in it needs a server"


def test_a_file_for_browsers_escapes_what_is_in_it() -> None:
    seen = {"zone": "<script>alert(1)</script>"}
    plan = build(frame(), [case("d/file/t/one", desired={"zone": "UTC"}, record={"zone": "UTC"}, base={"zone": "UTC"}, seen=seen)])
    text = plan_html(view(plan)).decode()
    assert "alert(1)" in text and "<script" not in text
