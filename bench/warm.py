"""Plans of one-file commits in a process that stays: `python -m bench.warm DATA REPOSITORY TURNS LIMIT_S`. Prints its measurements as JSON.

Each measured plan is of a commit that changes one host and that this process has not seen. Between two of them the commit before is planned
again, unmeasured, so that each is one file away from the last. Ends early after LIMIT_S seconds, but never before three plans.
"""

import json
import sys
import time
from pathlib import Path

from reconciler.planning import make_plan
from reconciler.types.request import Request
from reconciler.wiring import open_installation


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so large a share of all do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def peak_mib() -> float:
    """The most memory that this process had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """See the module."""
    data, location, turns, limit_s = sys.argv[1:]
    installation = open_installation(Path(data))
    repository = installation.repository(location)
    branches = sorted(name for name in repository.branches() if name.startswith("edit-"))
    began, took, cpu = time.monotonic(), [], []
    make_plan(installation, repository, Request(rev="main"))
    for turn in range(min(int(turns), len(branches))):
        make_plan(installation, repository, Request(rev="main~1"))
        before, before_cpu = time.perf_counter(), time.process_time()
        planned = make_plan(installation, repository, Request(rev=branches[turn]))
        took.append(time.perf_counter() - before)
        cpu.append(time.process_time() - before_cpu)
        if len(planned.plan.changes) != 1:
            raise SystemExit(f"{branches[turn]} changes one host's preseed, and its plan has {len(planned.plan.changes)} changes")
        if turn >= 2 and time.monotonic() - began > float(limit_s):
            break
    found = {"turns": len(took), "p50_s": percentile(took, 0.5), "p99_s": percentile(took, 0.99), "cpu_s": sum(cpu) / len(cpu)}
    print(json.dumps(found | {"peak_mib": peak_mib()}))
    installation.close()


if __name__ == "__main__":
    main()
