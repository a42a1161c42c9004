"""What the rows about plans are held against: limits by row and size, growth between sizes, memory by host, peers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.measure import Row
from bench.peers import Met, Peer

COLD = "cold plan"
LAYOUT_ROWS = {"nested": COLD, "files of 500 hosts": f"{COLD}, files of 500 hosts", "flat folder": f"{COLD}, flat folder"}
FIRST = f"{COLD}, nothing recorded"
NOTHING = "warm plan, nothing to do"
ONE = "plan of a one-file commit, warm process"
ONE_P99 = f"{ONE}, p99"
ONE_COMMAND = "plan of a one-file commit, command line"
PROFILE = "warm plan, profile of all hosts changed"

COLD_GROWTH, ONE_GROWTH = 12.0, 2.0
BASE_B, HOST_B, MOST_B = 60e6, 1.5 * 1024, 250e6


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The most that a figure of some rows may be, at some sizes (empty: at all)."""

    names: tuple[str, ...]
    figure: Literal["seconds", "cpu_s", "ratio"]
    most: float
    hosts: tuple[int, ...] = ()

    def applies(self, row: Row) -> bool:
        """Whether it is about this row."""
        return row.name in self.names and (not self.hosts or row.hosts in self.hosts)

    def __str__(self) -> str:
        if self.figure == "seconds":
            return f"at most {self.most * 1000:g} ms" if self.most < 0.1 else f"at most {self.most:g} s"
        return f"at most {self.most:g} CPU s" if self.figure == "cpu_s" else f"at most {self.most:g} times the floor"


_COLD = tuple(LAYOUT_ROWS.values())
LIMITS = (
    Limit(names=_COLD, figure="cpu_s", most=2.5, hosts=(10_000,)),
    Limit(names=_COLD, figure="cpu_s", most=25, hosts=(100_000,)),
    Limit(names=_COLD, figure="ratio", most=10, hosts=(100_000,)),
    Limit(names=(ONE,), figure="seconds", most=0.005),
    Limit(names=(ONE,), figure="ratio", most=7, hosts=(100_000,)),
    Limit(names=(ONE_P99,), figure="seconds", most=0.015),
    Limit(names=(ONE_COMMAND, NOTHING), figure="seconds", most=0.35),
    Limit(names=(PROFILE,), figure="cpu_s", most=4),
)


def judged(row: Row) -> Row:
    """The row with its bar, if it has one."""
    limits = [limit for limit in LIMITS if limit.applies(row)]
    if not limits:
        return row
    return replace(row, bar=", ".join(map(str, limits)), met=all(getattr(row, limit.figure) <= limit.most for limit in limits))


def memory(rows: Sequence[Row], hosts: int) -> Iterator[Row]:
    """The highest peaks of a size, against what a fleet of this size may take: plans that find little to do, and those that change every host."""
    allowed = min(BASE_B + HOST_B * hosts, MOST_B) / (1 << 20)
    everything = (FIRST, PROFILE)
    for name, found in (
        ("memory, cold and warm plans", [row for row in rows if row.hosts == hosts and row.name not in everything]),
        ("memory, cold and warm plans that change every host", [row for row in rows if row.hosts == hosts and row.name in everything]),
    ):
        most = max(found, key=lambda row: row.peak_mib)
        yield replace(
            most,
            name=name,
            floor=allowed,
            ratio=most.peak_mib / allowed,
            against=f"60 MB and 1.5 KiB a host, in MiB; highest in: {most.name}",
            bar=f"at most {allowed:.0f} MiB",
            met=most.peak_mib <= allowed,
        )


def growth(rows: Sequence[Row], small: int, large: int) -> Iterator[Row]:
    """How much more ten times the hosts take: CPU seconds for cold rows, seconds for rows about one change."""
    before = {row.name: row for row in rows if row.hosts == small}
    for row in rows:
        if row.hosts != large or row.name not in before or not row.name.startswith((COLD, "plan of")):
            continue
        most, figure = (COLD_GROWTH, "cpu_s") if row.name.startswith(COLD) else (ONE_GROWTH, "seconds")
        floor = getattr(before[row.name], figure)
        ratio = getattr(row, figure) / floor
        yield replace(
            row,
            name=f"growth, {row.name}",
            floor=floor,
            ratio=ratio,
            against=f"the same with {small:,} hosts ({'CPU seconds' if figure == 'cpu_s' else 'seconds'})",
            bar=f"within {most:g} times",
            met=ratio <= most,
        )


def against(peer: Peer, met: Met, cold: Row) -> Row:
    """A cold plan beside what a peer took for as many hosts."""
    ratio = cold.cpu_s / met.cpu_s
    bar = f"at least {peer.least:g} times less" if peer.least and met.hosts >= 10_000 else ""
    return replace(
        cold,
        name=f"{COLD} against {peer.name}",
        floor=met.cpu_s,
        ratio=ratio,
        against=f"{peer.operation} ({met.version})",
        bar=bar,
        met=ratio * peer.least <= 1 if bar else None,
    )
