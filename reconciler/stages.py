"""Where the time goes: named stages, nested, and counts of work done in them. Costs nothing where nobody asks.

`timed` collects the stages of a block for `--timings`; `around` adds what else is to happen around every stage (a metric, a span), and
`counters` what is to hear of every count. Stages are measured in the thread that began the block; counts are of that thread too, and of those
that it lends them to. Imports nothing of Octofleet, so that every layer but `types` may count what it does: by the chunk, the query or the
file, never by the row.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")
NOTHING: Mapping[str, object] = {}
Around = Callable[[str, Mapping[str, object]], AbstractContextManager[object]]
around: list[Around] = []
"""Makers of context managers, entered with a stage's name and what is said about it: filled by `metrics` and `tracing` when they are in use."""
counters: list[Callable[[str, int], None]] = []
"""Told what was counted and how much, in whatever thread."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """One stage: seconds in all, how often it was entered, and its inner stages by name."""

    seconds: float = 0.0
    times: int = 0
    inner: dict[str, "Stage"] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Timings:
    """The stages of a block, and counts of work. What is counted: `WORK`."""

    root: Stage = field(default_factory=Stage)
    counts: Counter[str] = field(default_factory=Counter)
    path: list[Stage] = field(default_factory=list)


WORK = (
    "documents_parsed",
    "hosts_resolved",
    "resources_made",
    "resources_observed",
    "rows_read",
    "bytes_hashed",
    "blobs_read",
    "trees_read",
    "driver_retries",
    "breaker_opened",
)
"""What is counted: documents of YAML parsed; hosts resolved to their values; resources made by drivers, and asked about in the world; rows that
the database and the index gave; bytes of the canonical form of specifications that were hashed to compare them; objects read from Git; calls
of drivers that were tried again in place; how often a provider was left alone from then on."""

_counting = Lock()
_current: ContextVar[Timings | None] = ContextVar("timings", default=None)


@contextmanager
def timed(imports_s: float = 0.0) -> Iterator[Timings]:
    """Collect stages and counts until the block ends. `imports_s`: what came before it, as a stage of its own and part of the whole."""
    timings = Timings()
    timings.path.append(timings.root)
    if imports_s:
        timings.root.inner["imports"] = Stage(seconds=imports_s, times=1)
    token = _current.set(timings)
    began = perf_counter()
    try:
        yield timings
    finally:
        timings.root.seconds, timings.root.times = imports_s + perf_counter() - began, 1
        _current.reset(token)


def stage(name: str, about: Mapping[str, object] = NOTHING) -> AbstractContextManager[None]:
    """A named part of the work. `about`: which one it is, for a trace; what is put into it until the end counts too."""
    timings = _current.get()
    return nullcontext() if timings is None and not around else _stage(timings, name, about)


@contextmanager
def _stage(timings: Timings | None, name: str, about: Mapping[str, object]) -> Iterator[None]:
    with ExitStack() as stack:
        for make in around:
            stack.enter_context(make(name, about))
        if timings is None:
            yield
            return
        mine = timings.path[-1].inner.setdefault(name, Stage())
        timings.path.append(mine)
        began = perf_counter()
        try:
            yield
        finally:
            mine.seconds += perf_counter() - began
            mine.times += 1
            timings.path.pop()


def count(what: str, number: int = 1) -> None:
    """Some work was done."""
    timings = _current.get()
    if timings is not None:
        with _counting:
            timings.counts[what] += number
    for told in counters:
        told(what, number)


def lend() -> Callable[[], None]:
    """For another thread to begin with: what it counts is this block's too. Its stages are not."""
    timings = _current.get()
    return lambda: None if timings is None else _borrow(timings)


def _borrow(timings: Timings) -> None:
    root = Stage()
    _current.set(Timings(root=root, counts=timings.counts, path=[root]))


def counting() -> bool:
    """Whether anybody asks: for counts that are not at hand."""
    return _current.get() is not None or bool(counters)


def counted(what: str, items: Iterator[T]) -> Iterator[T]:
    """The items, counted as far as they are taken; the iterator itself where nobody asks."""
    return _counted(what, items) if counting() else items


def _counted(what: str, items: Iterable[T]) -> Iterator[T]:
    number = 0
    try:
        for number, item in enumerate(items, 1):  # noqa: B007 - told when all are taken, or no more are asked for
            yield item
    finally:
        count(what, number)


def since_start_s() -> float:
    """Seconds since this process was started, interpreter and imports included, to a hundredth; where the system does not tell: CPU time."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError, IndexError):
        return time.process_time()


WIDTH, NUMBER = 28, 12


def lines(timings: Timings) -> Iterator[str]:
    """For people: each stage with its milliseconds and its share of the whole, inner ones indented, what no inner stage accounts for as `rest`,
    and the counts."""
    yield from _lines("all", timings.root, 0, timings.root.seconds or 1.0)
    for what in WORK:
        yield f"{what.replace('_', ' '):<{WIDTH}} {timings.counts[what]:>{NUMBER},}"


def _lines(name: str, found: Stage, depth: int, whole: float) -> Iterator[str]:
    yield _line(name, found.seconds, found.times, depth, whole)
    for inner, stage_ in found.inner.items():
        yield from _lines(inner, stage_, depth + 1, whole)
    if found.inner:
        rest = found.seconds - sum(stage_.seconds for stage_ in found.inner.values())
        yield _line("rest", max(0.0, rest), 1, depth + 1, whole)


def _line(name: str, seconds: float, times: int, depth: int, whole: float) -> str:
    text = f"{'  ' * depth}{name:<{WIDTH - 2 * depth}} {seconds * 1000:>{NUMBER},.1f} ms {seconds / whole:>6.1%}"
    return f"{text}  in {times} parts" if times > 1 else text
