"""What a run found, as `bench/results.json` keeps it: rows, peers, skips and the machine. Subjects that a run did not measure keep their rows."""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import Row
from bench.peers import Met


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure. Without `hosts` a subject measures all its sizes; runs are repeated while they took less than `repeat_s` together."""

    hosts: tuple[int, ...] = ()
    peers: bool = True
    repeat_s: float = 8.0
    warm_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one subject found."""

    rows: Sequence[Row]
    peers: Sequence[Met] = field(default_factory=tuple)
    skipped: Sequence[str] = field(default_factory=tuple)


def told(row: Row) -> Row:
    """Print a row."""
    verdict = "" if row.met is None else f"  [{'met' if row.met else 'NOT MET'}: {row.bar}]"
    figures = f"{row.seconds:9.4f} s {row.cpu_s:9.4f} CPU s {row.peak_mib:6.0f} MiB {row.ratio:8.2f} x {row.against} ({row.floor:.4g})"
    print(f"  {row.name:<51} {row.hosts:>7,} {figures}{verdict}", flush=True)
    return row


def merged(old: Mapping[str, Any], found: Mapping[str, Found], beginnings: Mapping[str, tuple[str, ...]], machine: str) -> dict[str, Any]:
    """The old results with those of the measured subjects in place of their former ones. `beginnings`: of each subject's row names."""
    measured = tuple(beginning for name in found for beginning in beginnings[name])
    rows = [row for row in old.get("rows", ()) if not row["name"].startswith(measured)]
    rows += [_rounded(asdict(row)) for one in found.values() for row in one.rows]
    order = [beginning for several in beginnings.values() for beginning in several]
    result = {"command": "make bench", "machine": machine, "rows": sorted(rows, key=lambda row: _rank(row["name"], beginnings, order))}
    for key in ("peers", "skipped"):
        kept = {name: items for name, items in old.get(key, {}).items() if name not in found}
        result[key] = kept | {name: _plain(getattr(one, key)) for name, one in found.items() if getattr(one, key)}
    return result


def _rank(name: str, beginnings: Mapping[str, tuple[str, ...]], order: Sequence[str]) -> int:
    """Subjects in their order; rows of one subject as they came, and those of unknown subjects last."""
    return next((place for place, several in enumerate(beginnings.values()) if name.startswith(several)), len(order))


def _plain(items: Iterable[Any]) -> list[Any]:
    return [item if isinstance(item, str) else _rounded(asdict(item)) for item in items]


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}


def load(path: Path) -> dict[str, Any]:
    """The results of earlier runs; empty if there are none."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def save(path: Path, results: Mapping[str, Any]) -> None:
    """Write them."""
    path.write_text(json.dumps(results, indent=1) + "\n")


def this_machine() -> str:
    """What the figures depend on."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    cores = os.cpu_count()
    return f"{cores} cores ({names[0] if names else platform.machine()}), {memory_gib:.0f} GiB, Python {platform.python_version()}"
