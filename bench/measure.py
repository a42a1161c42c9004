"""Run a program, and know its seconds, CPU seconds and peak memory. This process stays small: a child's peak is never below its parent's."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
EVERY_S = 0.02
Told = TypeVar("Told")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured operation. `ratio` is its CPU seconds over `floor`, those of `against`; memory in MiB; `met` is None where there is no bar."""

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
    """What one run of a program took, its children included; peaks of children that live at the same time are added to its own."""

    seconds: float
    cpu_s: float
    peak_mib: float
    code: int = 0
    out: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where measured programs run: a directory of this run, and Python that compiles each import once, as in an installation."""

    directory: Path

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """This one's, without what would change a measurement."""
        known = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OCTOFLEET_", "TF_")) and name not in ("PYTHONDONTWRITEBYTECODE", "CI")
        }
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return known | {"PYTHONPYCACHEPREFIX": str(self.directory / "pycache"), "PYTHONPATH": path, **(more or {})}

    def cost(self, command: Sequence[str | Path], more: Mapping[str, str] | None = None, expected: Sequence[int] = (0,)) -> Cost:
        """Run a program to its end. Any other exit code than the expected ends the bench with what the program said."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            began = time.perf_counter()
            process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.environment(more)
            )
            family = _Family(process.pid)
            family.start()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            family.stop()
            if process.returncode not in expected:
                said = _tail(err) or _tail(out)
                raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{said}")
            out.seek(0)
            text = out.read(1 << 20).decode(errors="replace")
        return Cost(
            seconds=seconds,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_mib=family.own_mib(usage.ru_maxrss / 1024) + family.peak_mib,
            code=process.returncode,
            out=text,
        )

    def python(self, *arguments: str | Path, more: Mapping[str, str] | None = None, expected: Sequence[int] = (0,)) -> Cost:
        """The cost of a Python program."""
        return self.cost([sys.executable, *arguments], more, expected)


def together(calls: Mapping[str, Callable[[], Told]]) -> dict[str, Told]:
    """What each call returns, all begun at the same time: whatever else slows the machine meanwhile meets each of them."""
    with ThreadPoolExecutor(len(calls)) as threads:
        futures = {name: threads.submit(call) for name, call in calls.items()}
        return {name: future.result() for name, future in futures.items()}


class _Family(threading.Thread):
    """Looks at a process's living descendants, and keeps the most memory that they had together.

    One counts from the second look on: until a child runs its own program it shows its parent's memory.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._ended = pid, threading.Event()
        self._own_mib, self._largest_mib, self.peak_mib = 0.0, 0.0, 0.0

    def run(self) -> None:
        before: set[int] = set()
        while not self._ended.wait(EVERY_S):
            living = set(_descendants(self._pid))
            found = [peak_mib(pid) for pid in living & before]
            self.peak_mib, self._largest_mib = max(self.peak_mib, sum(found)), max(self._largest_mib, *found, 0.0)
            self._own_mib = max(self._own_mib, peak_mib(self._pid))
            before = living

    def own_mib(self, told_mib: float) -> float:
        """The process's own peak. What the system tells of it is that of its largest child, if that is higher: then what was seen counts."""
        return told_mib if told_mib > self._largest_mib else min(told_mib, self._own_mib)

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def peak_mib(pid: int) -> float:
    """The most memory that a living process has had; 0 if it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def rss_mib() -> float:
    """The memory that this process has now."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def cpu_s(pid: int) -> float:
    """The CPU seconds that a living process has had, its children that have ended included."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, told[11:15])) / os.sysconf("SC_CLK_TCK")


def _tail(file: object) -> str:
    file.seek(0)  # type: ignore[attr-defined]
    return file.read()[-3000:].decode(errors="replace")  # type: ignore[attr-defined,no-any-return]


def middle(costs: Sequence[Cost]) -> Cost:
    """The run with the median seconds, with the highest peak of all."""
    found = sorted(costs, key=lambda cost: cost.seconds)[len(costs) // 2]
    return replace(found, peak_mib=max(cost.peak_mib for cost in costs))
