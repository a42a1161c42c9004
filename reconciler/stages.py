"""Where the time goes: named stages, nested, and counts of work done in them. Costs nothing where nobody asks.

`timed` collects the stages of a block for `--timings`; `around` adds what else is to happen around every stage (a metric, a span). Stages are
measured in the thread that began the block; counts are of that thread too.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter

Around = Callable[[str], AbstractContextManager[object]]
around: list[Around] = []
"""Makers of context managers, entered with a stage's name: filled by `metrics` and `tracing` when they are in use."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """One stage: seconds in all, how often it was entered, and its inner stages by name."""

    seconds: float = 0.0
    times: int = 0
    inner: dict[str, "Stage"] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Timings:
    """The stages of a block, and counts of work: blobs read, documents parsed, hosts resolved, rows read, bytes hashed."""

    root: Stage = field(default_factory=Stage)
    counts: Counter[str] = field(default_factory=Counter)
    path: list[Stage] = field(default_factory=list)


_current: ContextVar[Timings | None] = ContextVar("timings", default=None)


@contextmanager
def timed() -> Iterator[Timings]:
    """Collect stages and counts until the block ends."""
    timings = Timings()
    timings.path.append(timings.root)
    token = _current.set(timings)
    began = perf_counter()
    try:
        yield timings
    finally:
        timings.root.seconds, timings.root.times = perf_counter() - began, 1
        _current.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """A named part of the work."""
    timings = _current.get()
    with ExitStack() as stack:
        for make in around:
            stack.enter_context(make(name))
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
        timings.counts[what] += number


def lines(timings: Timings) -> Iterator[str]:
    """For people: each stage with its milliseconds, inner ones indented, what no stage accounts for, and the counts."""
    yield from _lines("all", timings.root, 0)
    for what, number in sorted(timings.counts.items()):
        yield f"{what.replace('_', ' '):<28} {number:>12,}"


def _lines(name: str, found: Stage, depth: int) -> Iterator[str]:
    times = f"  x {found.times}" if found.times > 1 else ""
    yield f"{'  ' * depth}{name:<{28 - 2 * depth}} {found.seconds * 1000:>12,.1f} ms{times}"
    for inner, stage_ in found.inner.items():
        yield from _lines(inner, stage_, depth + 1)
