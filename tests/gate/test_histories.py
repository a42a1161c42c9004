"""Histories of words, windows and clocks: no step begins while a gate of it is closed, whatever was loaded before, and it begins while none is.

The reference knows windows as hours of a day in UTC and reckons by hand. Two processes remember the gates, each for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reconciler.gate.closing import Gates, Pause, subjects_of
from reconciler.store.engine import Connection
from reconciler.store.gates import KnownGates, end_pauses, load_gates, new_id, save_override, save_pause
from reconciler.store.journal import Begun, Freed, Lease, write
from reconciler.store.leases import Room, WorkerRow, beat, claim
from reconciler.store.records import drop_records, save_records, save_specs
from reconciler.store.versions import Lock, version
from reconciler.types.canonical import digest
from reconciler.types.change import Change
from reconciler.types.resource import Recorded, Rules
from tests.apply.runs import Bench
from tests.drivers.contract import host

HOSTS = 4
DAY_S, HOUR_S = 86_400, 3600
WINDOW = "fleet/maintenancewindow/-/w"


@dataclass
class World:
    """What the reference knows. Pauses: host (-1: all) and until; window: host, first hour, how many, whether a freeze."""

    now: float = 1_767_700_000.0
    pauses: list[tuple[int, float]] = field(default_factory=list)
    window: tuple[int, int, int, bool] | None = None
    overridden_until: float = 0.0

    def closed(self, number: int) -> bool:
        if any(of in (-1, number) and self.now < until for of, until in self.pauses):
            return True
        if self.window is None or self.window[0] not in (-1, number) or self.now < self.overridden_until:
            return False
        _, first, hours, freeze = self.window
        on = any(begin <= self.now < begin + hours * HOUR_S for begin in self._begins(first))
        return on if freeze else not on

    def _begins(self, first: int) -> Sequence[float]:
        day = self.now // DAY_S * DAY_S
        return [day + back * DAY_S + first * HOUR_S for back in (-2, -1, 0)]


def scope(number: int) -> str:
    return "fleet" if number < 0 else f"host/shop/web-{number:02d}"


def do(world: World, connection: Connection, op: tuple[Any, ...]) -> None:
    match op:
        case "pause", number, seconds:
            world.pauses.append((number, world.now + seconds))
            made = Pause(id=new_id(), source="", scope=scope(number), identity="x", at=world.now, until=world.now + seconds, reason="r")
            save_pause(connection, made)
        case "unpause", number:
            world.pauses = [item for item in world.pauses if item[0] != number]
            end_pauses(connection, scope(number))
        case "window", number, first, hours, freeze:
            world.window = number, first, hours, freeze
            times = [{"start": f"2025-01-01T{first:02}:00", "duration": f"{hours}h", "recurrence": "FREQ=DAILY"}]
            spec = {"mode": "freeze" if freeze else "open", "times": times} | ({} if number < 0 else {"scopes": [scope(number)]})
            save_specs(connection, [spec])
            rules = Rules(tenant="")
            record = Recorded(
                address=WINDOW, source="f", digest=digest(spec), rules=rules, group="w", external_id="", observed_digest="", commit="c"
            )
            save_records(connection, [record])
        case ("drop",):
            world.window = None
            drop_records(connection, [WINDOW])
        case "override", seconds:
            world.overridden_until = max(world.overridden_until, world.now + seconds)
            save_override(connection, "f", WINDOW, "x", world.now + seconds, "r")


numbers = st.integers(-1, HOSTS - 1)
spans = st.integers(1, 30 * HOUR_S)
words = st.one_of(
    st.tuples(st.just("pause"), numbers, spans),
    st.tuples(st.just("unpause"), numbers),
    st.tuples(st.just("window"), numbers, st.integers(0, 23), st.integers(1, 23), st.booleans()),
    st.tuples(st.just("drop")),
    st.tuples(st.just("override"), spans),
)
clocks = st.tuples(st.just("clock"), st.integers(-10 * HOUR_S, 20 * HOUR_S))
begins = st.tuples(st.just("begin"), st.integers(0, 1), st.integers(0, HOSTS - 1))


closings = st.one_of(
    st.tuples(st.just("pause"), st.sampled_from((-1, 0)), st.integers(HOUR_S, 30 * HOUR_S)),
    st.tuples(st.just("window"), st.sampled_from((-1, 0)), st.integers(0, 23), st.just(24), st.just(True)),
)
"""Words that close a gate of the host 0, or of all; the freeze is on all day."""


def scene(process: int, host: int, word: Sequence[Any]) -> list[tuple[Any, ...]]:
    """A process loads the gates, somebody closes one, and the process goes on with what is behind it."""
    start = ("begin", process, host)
    about = word[0], host if word[1] == 0 else -1, *word[2:]
    return [start, about, start]


scenes = st.builds(scene, st.integers(0, 1), st.integers(0, HOSTS - 1), closings)
others = st.lists(st.one_of(words, clocks, begins, begins), max_size=13)


@settings(max_examples=150, deadline=None)
@given(others, scenes, others)
def test_no_history_begins_a_step_behind_a_closed_gate(
    tmp_path_factory: Any, before: list[tuple[Any, ...]], turn: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    play(Path(tmp_path_factory.mktemp("bench")), [*before, *turn, *after])


@pytest.mark.parametrize("reloads", [True, False])
def test_what_has_run_out_counts_again_when_the_clock_steps_back(tmp_path: Path, reloads: bool) -> None:
    word = [("pause", 1, HOUR_S)] if reloads else []
    play(
        tmp_path,
        [("pause", 0, HOUR_S), ("begin", 0, 0), ("clock", 2 * HOUR_S), *word, ("begin", 0, 1), ("clock", -1.5 * HOUR_S), ("begin", 0, 0)],
    )
    play_back = [("pause", 0, HOUR_S), ("clock", 2 * HOUR_S), ("begin", 0, 1), ("clock", -1.5 * HOUR_S), ("begin", 1, 0), ("begin", 0, 0)]
    (tmp_path / "again").mkdir()
    play(tmp_path / "again", play_back)


def never_again(known: KnownGates, connection: Connection, lock: Lock = "") -> Gates:
    """`KnownGates.now` that goes by what it has loaded first."""
    version(connection, lock)
    if not known._known[0]:
        known._known = "loaded", load_gates(connection)
    return known._known[1]


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(scenes)
def test_who_never_looks_again_is_found_each_time(tmp_path_factory: Any, turn: list[tuple[Any, ...]]) -> None:
    """Drawn at random, words and begins seldom meet in one process and host: so every history has a scene in which they do."""
    with mock.patch.object(KnownGates, "now", never_again), pytest.raises(AssertionError, match=" at "):
        play(Path(tmp_path_factory.mktemp("bench")), turn)


def play(path: Path, ops: Sequence[tuple[Any, ...]]) -> None:
    """Everything in its order, held against the reference."""
    world = World()
    with mock.patch("time.time", lambda: world.now):
        bench = Bench(path, batch=1)
        plan = bench.plan(*(host(f"web-{number:02d}") for number in range(HOSTS)))
        bench.begin(plan)
        changes = {c.address: c for c in plan.changes}
        known = [KnownGates(), KnownGates()]
        for op in ops:
            if op[0] == "clock":
                world.now = max(world.now + op[1], 1_767_000_000.0)
            elif op[0] == "begin":
                begin(bench, world, known[op[1]], changes, op[2])
            else:
                with bench.store.write() as connection:
                    do(world, connection, op)
        bench.store.close()


def begin(bench: Bench, world: World, known: KnownGates, changes: dict[str, Change], which: int) -> None:
    """Take what can be taken, and begin one of it; what began goes back, as if it had to be looked at again."""
    with bench.store.write() as connection:
        connection.run("UPDATE step SET due_at = 0, state = 'ready' WHERE state <> 'ended'")
        beat(connection, WorkerRow(id="w", name="w", role="r", version="", started_at=0.0, until=world.now + 60))
        taken = [
            (run, step) for run, steps in claim(connection, "w", Room(slots=HOSTS, drivers={"memory": HOSTS})).items() for step in steps
        ]
    for number, (run, step) in enumerate(taken):
        lease = Lease(run=run, step=step.seq, fence=step.fence)
        if number == which % len(taken):
            found = [changes[item.address] for item in step.open]
            entry = Begun(lease=lease, source="f", subjects=[subject for change in found for subject in subjects_of(change)])
            with bench.store.write(alone=False) as connection:
                (verdict,) = write(connection, [entry], known)
            behind = any(world.closed(int(change.group[-2:])) for change in found)
            assert verdict == ("gated" if behind else ""), f"{found[0].address} at {world.now}: {world}"
        with bench.store.write(alone=False) as connection:
            write(connection, [Freed(lease=lease, result="waiting", after_s=0.0)])
