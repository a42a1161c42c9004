"""Policies: what it costs to judge a large plan.

In: nothing. Out: rows. The policies are those of the example fleet.
"""

import json
from statistics import median

from bench.measure import Machine, Row
from bench.results import Found, Options, told

NAME, TITLE = "policy", "Policies"
BEGINNINGS = ("policies, ",)
NOTE = """The ten policies of the example fleet over a plan of 100,000 changes (the column "hosts") in 1,000 groups that look different to them: from the
changes to the verdicts, compiling the expressions included. The floor is one evaluation of every rule for every group, with the values ready."""
FINDINGS = """Most of it goes into folding: telling for each change which others look the same. The evaluations themselves are the floor; a policy's
`when` spares its rule where it is about something else."""
CHANGES, GROUPS, MOST_S, ROUNDS = 100_000, 1_000, 2.0, 3


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    quick = options.hosts == (1_000,)
    number, groups = (10_000, 100) if quick else (CHANGES, GROUPS)
    costs = [machine.python("-m", "bench.judged", str(number), str(groups)) for _ in range(1 if quick else ROUNDS)]
    said = [json.loads(cost.out.splitlines()[-1]) for cost in costs]
    found = {name: median(each[name] for each in said) for name in ("seconds", "cpu_s", "floor_s")}
    row = Row(
        name=f"policies, {said[0]['policies']} over {said[0]['groups']:,} groups",
        hosts=number,
        seconds=found["seconds"],
        cpu_s=found["cpu_s"],
        peak_mib=max(cost.peak_mib for cost in costs),
        floor=found["floor_s"],
        ratio=found["cpu_s"] / found["floor_s"],
        against="every rule once for every group",
        bar=f"at most {MOST_S:g} CPU s",
        met=found["cpu_s"] <= MOST_S,
    )
    return Found(rows=[told(row)])
