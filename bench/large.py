"""What is measured on one large plan, in a process of its own that prints one JSON document: `seconds`, `cpu_s`, `floor_s`, and what a name needs.

In: a module of this package. Out: one row.
"""

import json
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from bench.measure import Machine, Row
from bench.results import Found, Options, told

CHANGES, QUICK, MOST_S, ROUNDS = 100_000, 10_000, 2.0, 3


def measured(
    machine: Machine, options: Options, module: str, *, name: Callable[[Mapping[str, Any]], str], groups: Mapping[int, int], against: str
) -> Found:
    """The median of some runs, of one if it has to be quick; `groups`: in how many the changes fall, by their number."""
    quick = options.hosts == (1_000,)
    number = QUICK if quick else CHANGES
    costs = [machine.python("-m", module, str(number), str(groups[number])) for _ in range(1 if quick else ROUNDS)]
    said = [json.loads(cost.out.splitlines()[-1]) for cost in costs]
    found = {key: median(each[key] for each in said) for key in ("seconds", "cpu_s", "floor_s")}
    row = Row(
        name=name(said[0]),
        hosts=number,
        seconds=found["seconds"],
        cpu_s=found["cpu_s"],
        peak_mib=max(cost.peak_mib for cost in costs),
        floor=found["floor_s"],
        ratio=found["cpu_s"] / found["floor_s"],
        against=against,
        bar=f"at most {MOST_S:g} CPU s",
        met=found["cpu_s"] <= MOST_S,
    )
    return Found(rows=[told(row)])
