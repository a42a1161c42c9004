"""`make bench`: measure subjects, print tables, write bench/results.json and from it docs/benchmarks.md. Results are written, never asserted.

`python -m bench` measures every subject, `python -m bench plan` one. `--quick`, `--hosts` and `--no-peers` measure less and write nothing.
`--page` measures nothing and makes the page anew from the results that are there.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from bench import ansible, ansible_events, comment, durable, inventory, netboot, pages, plan, policy, streams, tftp, webhook
from bench.measure import ROOT, Machine
from bench.page import Section, page
from bench.results import Options, load, merged, save, this_machine

SUBJECTS = {
    subject.NAME: subject
    for subject in (plan, durable, policy, comment, webhook, streams, pages, tftp, netboot, inventory, ansible, ansible_events)
}
SECTIONS = tuple(
    Section(name=subject.NAME, title=subject.TITLE, note=subject.NOTE, findings=subject.FINDINGS, beginnings=subject.BEGINNINGS)
    for subject in SUBJECTS.values()
)
RESULTS, PAGE = ROOT / "bench" / "results.json", ROOT / "docs" / "benchmarks.md"


def main() -> None:
    """Measure, and write what a full run found."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="1,000 hosts, no peers, under a minute")
    parser.add_argument("--hosts", type=lambda text: tuple(map(int, text.split(","))), default=(), help="sizes, such as 1000,10000")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--page", action="store_true", help="measure nothing: write docs/benchmarks.md from bench/results.json")
    asked = parser.parse_args()
    if asked.page:
        PAGE.write_text(page(load(RESULTS), SECTIONS))
        return
    unknown = set(asked.subjects) - SUBJECTS.keys()
    if unknown:
        parser.error(f"there is no subject {', '.join(sorted(unknown))}")
    options = Options(hosts=asked.hosts, peers=not asked.no_peers)
    if asked.quick:
        options = Options(hosts=(1_000,), peers=False, repeat_s=1.5, warm_s=3.0)
    directory = Path(tempfile.mkdtemp(prefix="octofleet-bench-"))
    try:
        machine = Machine(directory=directory)
        machine.python("-m", "reconciler.cli", "plan", "--help")
        found = {name: SUBJECTS[name].measure(machine, options) for name in asked.subjects or SUBJECTS}
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if asked.quick or asked.hosts or asked.no_peers:
        print("a part only: nothing is written; make bench measures all")
        return
    beginnings = {name: subject.BEGINNINGS for name, subject in SUBJECTS.items()}
    results = merged(load(RESULTS), found, beginnings, this_machine())
    save(RESULTS, results)
    PAGE.write_text(page(results, SECTIONS))
    print("written: bench/results.json, docs/benchmarks.md")


if __name__ == "__main__":
    main()
