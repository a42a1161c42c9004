"""Run a program, and know its seconds, CPU seconds and peak memory; and what the same work costs at the least."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured operation. `ratio` is its CPU seconds over those of `against`; memory in MiB."""

    name: str
    hosts: int
    seconds: float
    cpu_s: float
    peak_mib: float
    floor: float
    ratio: float
    against: str
    bar: str = ""
    met: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run of a program took."""

    seconds: float
    cpu_s: float
    peak_mib: float
    code: int


def cost(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> Cost:
    """Run a program to its end, its output dropped."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
    )
    _, status, usage = os.wait4(process.pid, 0)
    return Cost(
        seconds=time.perf_counter() - began,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 1024,
        code=os.waitstatus_to_exitcode(status),
    )


def python(program: str, *arguments: str | Path) -> Cost:
    """The cost of a small Python program of its own."""
    return cost([sys.executable, "-c", program, *arguments])


FLOOR = """
import sys, hashlib, subprocess
import msgspec
from _ruamel_yaml import CParser
from ruamel.yaml.events import StreamEndEvent
listed = subprocess.run(["git", "-C", sys.argv[1], "ls-tree", "-r", "--format=%(objectname)", "main"], capture_output=True, check=True).stdout
data = subprocess.run(["git", "-C", sys.argv[1], "cat-file", "--batch"], input=listed, capture_output=True, check=True).stdout
at = 0
while at < len(data):
    end = data.index(b"\\n", at)
    size = int(data[at:end].split()[2])
    blob = data[end + 1 : end + 1 + size]
    at = end + size + 2
    get = CParser(blob).get_event
    while type(get()) is not StreamEndEvent:
        pass
    hashlib.sha256(blob).digest()
"""
"""The least for a cold plan: `git cat-file --batch` of every blob, one pass of libyaml's events over each, one SHA-256."""


def floor(repository: Path) -> Cost:
    """The floor of a cold plan of this repository."""
    return python(FLOOR, repository)


def nothing() -> Cost:
    """The floor of a command that does nothing: an interpreter and the imports that every plan needs."""
    return python("import click, msgspec, pygit2, sqlite3")


def written(rows: Sequence[Row], results: Path, page: Path, note: str) -> None:
    """bench/results.json and the page made from it."""
    results.write_text(json.dumps({"rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    lines = [
        "# Benchmarks",
        "",
        note,
        "",
        "| operation | hosts | seconds | CPU s | peak MiB | ratio | against |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.hosts:,} | {row.seconds:.2f} | {row.cpu_s:.2f} | {row.peak_mib:.0f} | {row.ratio:.1f} | {row.against} ({row.floor:.2f} CPU s) |"
        for row in rows
    ]
    page.write_text("\n".join(lines) + "\n")
