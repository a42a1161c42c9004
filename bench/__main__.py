"""`make bench`: generate fleets, run the real command on them, print a table of ratios, write it down. `--quick` measures the small fleet only."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from bench.fleets import make
from bench.measure import Cost, Row, cost, floor, nothing, written

ROOT = Path(__file__).resolve().parent
SIZES = (1_000, 10_000)
NOTE = """Written by `make bench`; do not edit. Seeded fleets, one file for each host in nested folders, four resources a host (register,
iPXE, GRUB, preseed), the real command in a new process. The ratio is CPU seconds over those of a floor measured in the same run:
for cold and warm plans, reading every blob with `git cat-file --batch`, one pass of libyaml over it and one SHA-256; for the one-file
plan, an interpreter that only imports what a plan needs. The sizes and bars of the next milestone are not here yet."""
EXPECTED = {0, 2}


def octofleet(data: Path, *arguments: str | Path) -> Cost:
    """The cost of one command; ends the bench if it fails."""
    done = cost([sys.executable, "-m", "reconciler.cli", *arguments], {"OCTOFLEET_DATA_DIR": str(data)})
    if done.code not in EXPECTED:
        raise SystemExit(f"octofleet {' '.join(map(str, arguments))} ended with {done.code}")
    return done


def rows_of(hosts: int, directory: Path) -> list[Row]:
    """All rows for one size."""
    print(f"a fleet of {hosts:,} hosts: generating", flush=True)
    repository, data = make(hosts, directory / f"fleet-{hosts}.git"), directory / f"data-{hosts}"
    least, start = floor(repository), nothing()

    def row(name: str, found: Cost, against: Cost, what: str) -> Row:
        made = Row(
            name=name,
            hosts=hosts,
            seconds=found.seconds,
            cpu_s=found.cpu_s,
            peak_mib=found.peak_mib,
            floor=against.cpu_s,
            ratio=found.cpu_s / against.cpu_s,
            against=what,
        )
        print(
            f"  {name:<28} {found.seconds:7.2f} s {found.cpu_s:7.2f} CPU s {found.peak_mib:6.0f} MiB {made.ratio:6.1f} x {what}", flush=True
        )
        return made

    cold = octofleet(data, "plan", "--repo", repository, "--rev", "main~1")
    rows = [row("cold plan, nothing recorded", cold, least, "read, parse, hash")]
    applied = octofleet(data, "apply", "--repo", repository, "--rev", "main~1", "--approve")
    rows.append(row("cold plan and apply", applied, least, "read, parse, hash"))
    warm = octofleet(data, "plan", "--repo", repository, "--rev", "main~1")
    rows.append(row("warm plan, nothing to do", warm, least, "read, parse, hash"))
    one = octofleet(data, "plan", "--repo", repository)
    rows.append(row("plan of a one-file commit", one, start, "imports alone"))
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    directory = Path(tempfile.mkdtemp(prefix="octofleet-bench-"))
    try:
        rows = [row for hosts in SIZES[: 1 if quick else None] for row in rows_of(hosts, directory)]
    finally:
        shutil.rmtree(directory)
    if quick:
        print("quick: nothing is written; make bench measures all sizes")
        return
    written(rows, ROOT / "results.json", ROOT.parent / "docs" / "benchmarks.md", NOTE)
    print("written: bench/results.json, docs/benchmarks.md")


if __name__ == "__main__":
    main()
