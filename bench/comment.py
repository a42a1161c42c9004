"""The comment on a pull request: what it costs to make one of a large plan.

In: nothing. Out: rows.
"""

import json
from statistics import median

from bench.measure import Machine, Row
from bench.results import Found, Options, told

NAME, TITLE = "comment", "The comment on a pull request"
BEGINNINGS = ("comment, ",)
NOTE = """The comment of a plan of 100,000 changes (the column "hosts") in 1,000 groups that read differently, each change with fields of its own: from the
plan to at most 32,000 characters. The floor writes the fields of every change as bytes, once."""
FINDINGS = """Most of it goes into telling which hosts' changes read the same. Of what cannot fit, no text is made."""
CHANGES, GROUPS, MOST_S, ROUNDS = 100_000, 1_000, 2.0, 3


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    quick = options.hosts == (1_000,)
    number, groups = (10_000, 1_000) if quick else (CHANGES, GROUPS)
    costs = [machine.python("-m", "bench.commented", str(number), str(groups)) for _ in range(1 if quick else ROUNDS)]
    said = [json.loads(cost.out.splitlines()[-1]) for cost in costs]
    found = {name: median(each[name] for each in said) for name in ("seconds", "cpu_s", "floor_s")}
    row = Row(
        name=f"comment, {groups:,} groups",
        hosts=number,
        seconds=found["seconds"],
        cpu_s=found["cpu_s"],
        peak_mib=max(cost.peak_mib for cost in costs),
        floor=found["floor_s"],
        ratio=found["cpu_s"] / found["floor_s"],
        against="the fields of all changes as bytes",
        bar=f"at most {MOST_S:g} CPU s",
        met=found["cpu_s"] <= MOST_S,
    )
    return Found(rows=[told(row)])
