"""The comment on a pull request whose plan is large, made once: changes, groups. Run as a program.

Prints one JSON object: seconds and CPU seconds of the comment, those of the floor (the fields of every change as bytes once), its length.
"""

import json
import sys
import time

from bench.judged import AT, changes
from reconciler.report.view import View
from reconciler.types.canonical import pack
from reconciler.types.plan import Plan
from webhooks.comment import LIMIT, comment
from webhooks.forge import Pull, PullState
from webhooks.said import Said


def main(number: int, groups: int) -> None:
    """Make it, and measure the floor."""
    plan = Plan(
        source="bench",
        scope="",
        commit="c" * 40,
        base="b" * 40,
        created_at=AT,
        expires_at=AT + 86_400,
        changes=tuple(changes(number, groups)),
        hosts=number,
    )
    plan.id  # noqa: B018 - a stored plan has one
    pull = Pull(
        project="acme/fleet",
        number=7,
        title="",
        author="ada",
        state=PullState.OPEN,
        head="a" * 40,
        head_branch="x",
        base_branch="main",
        fork=False,
        url="",
    )
    said = Said(pull=pull, base="b" * 40, view=View(plan=plan, now=AT), full="https://octofleet.example.net/plans/1")
    began, cpu = time.perf_counter(), time.process_time()
    text = comment(said)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    assert len(text) <= LIMIT, len(text)
    assert "shortened" in text
    cpu = time.process_time()
    for change in plan.changes:
        pack([(item.path, item.before, item.after) for item in change.fields])
    floor_s = time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "floor_s": floor_s, "length": len(text)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
