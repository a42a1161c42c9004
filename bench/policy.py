"""Policies: what it costs to judge a large plan.

In: nothing. Out: rows. The policies are those of the example fleet.
"""

from bench.large import CHANGES, QUICK, measured
from bench.measure import Machine
from bench.results import Found, Options

NAME, TITLE = "policy", "Policies"
BEGINNINGS = ("policies, ",)
NOTE = """The ten policies of the example fleet over a plan of 100,000 changes (the column "hosts") in 1,000 groups that look different to them: from the
changes to the verdicts, compiling the expressions included. The floor is one evaluation of every rule for every group, with the values ready."""
FINDINGS = """Most of it goes into folding: telling for each change which others look the same. The evaluations themselves are the floor; a policy's
`when` spares its rule where it is about something else."""


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    return measured(
        machine,
        options,
        "bench.judged",
        name=lambda said: f"policies, {said['policies']} over {said['groups']:,} groups",
        groups={QUICK: 100, CHANGES: 1_000},
        against="every rule once for every group",
    )
