"""docs/benchmarks.md from bench/results.json. Pure: the same results give the same page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEAD = "| operation | hosts | seconds | CPU s | peak MiB | ratio | against | bar | met |"
PEER_HEAD = "| peer | version | hosts | seconds | CPU s | peak MiB |"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A subject of the page: what its rows' names begin with, what a reader has to know of them, and what the profile says of bars that are not met."""

    name: str
    title: str
    note: str
    findings: str
    beginnings: tuple[str, ...]


def page(results: Mapping[str, Any], sections: Sequence[Section]) -> str:
    """The whole page."""
    lines = ["# Benchmarks", "", "Written by `make bench`; do not edit.", "", *_verdict(results["rows"]), ""]
    lines += [f"Command: `{results['command']}`. Machine: {results['machine']}.", ""]
    left = list(results["rows"])
    for section in sections:
        rows = [row for row in left if row["name"].startswith(section.beginnings)]
        left = [row for row in left if row not in rows]
        lines += [f"## {section.title}", "", section.note, "", *_table(rows), "", "### What the profile says", "", section.findings, ""]
        lines += _peers(results.get("peers", {}).get(section.name, ()), results.get("skipped", {}).get(section.name, ()))
    if left:
        lines += ["## Others", "", *_table(left), ""]
    return "\n".join(lines).rstrip() + "\n"


def _verdict(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    missed = [row for row in rows if row["met"] is False]
    judged = [row for row in rows if row["met"] is not None]
    if not missed:
        yield f"All {len(judged)} bars are met."
        return
    yield f"{len(missed)} of {len(judged)} bars are not met:"
    yield ""
    for row in missed:
        figures = f"{figure(row['seconds'])} s, {figure(row['cpu_s'])} CPU s, {row['peak_mib']:.0f} MiB, ratio {figure(row['ratio'])}"
        yield f"- {row['name']}, {row['hosts']:,} hosts: {row['bar']}; it is {figures}"


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield HEAD
    yield "|---" * HEAD.count("| ") + "|"
    for row in rows:
        figures = f"{figure(row['seconds'])} | {figure(row['cpu_s'])} | {row['peak_mib']:.0f} | {figure(row['ratio'])}"
        met = {True: "yes", False: "**no**", None: ""}[row["met"]]
        yield f"| {row['name']} | {row['hosts']:,} | {figures} | {row['against']} ({figure(row['floor'])}) | {row['bar']} | {met} |"


def _peers(peers: Sequence[Mapping[str, Any]], skipped: Sequence[str]) -> Iterator[str]:
    if peers:
        yield from ("### Peers", "", "Measured in the same run, for as many hosts.", "", PEER_HEAD, "|---" * PEER_HEAD.count("| ") + "|")
        for peer in peers:
            figures = f"{figure(peer['seconds'])} | {figure(peer['cpu_s'])} | {peer['peak_mib']:.0f}"
            yield f"| `{peer['operation']}` | {peer['name']} {peer['version']} | {peer['hosts']:,} | {figures} |"
        yield ""
        yield from (f"- {name}: {note}" for name, note in {peer["name"]: peer["note"] for peer in peers}.items())
        yield ""
    if skipped:
        yield from ("Not measured:", "", *(f"- {reason}" for reason in skipped), "")


def figure(value: float) -> str:
    """Three digits that count; never fewer digits than the whole part has."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    digits = 2 if value >= 1 else 3
    while value * 10**digits < 100 and digits < 6:
        digits += 1
    return f"{value:.{digits}f}" if value < 10 else f"{value:.1f}"
