"""The comment on a pull request: what it costs to make one of a large plan.

In: nothing. Out: rows.
"""

from bench.large import CHANGES, QUICK, measured
from bench.measure import Machine
from bench.results import Found, Options

NAME, TITLE = "comment", "The comment on a pull request"
BEGINNINGS = ("comment, ",)
NOTE = """The comment of a plan of 100,000 changes (the column "hosts") in 1,000 groups that read differently, each change with fields of its own: from the
plan to at most 32,000 characters. The floor writes the fields of every change as bytes, once."""
FINDINGS = """Most of it goes into telling which hosts' changes read the same. Of what cannot fit, no text is made."""


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    groups = {QUICK: 1_000, CHANGES: 1_000}
    return measured(
        machine,
        options,
        "bench.commented",
        name=lambda said: f"comment, {groups[CHANGES]:,} groups",
        groups=groups,
        against="the fields of all changes as bytes",
    )
